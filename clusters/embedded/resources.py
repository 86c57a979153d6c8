"""The table of kinds: what the cluster serves, and what is particular to each.

A `Resource` is one plural in one version. Objects are kept by `key` (plural and group), so two
versions of the same plural share their objects. Custom resources join the table when their
CustomResourceDefinition is written (crds.py) and leave it with the definition.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from clusters.embedded.schemas.shapes import Shape

Obj = dict[str, Any]  # a Kubernetes object as JSON


def copied(value: Any) -> Any:
    """A deep copy of JSON. The registry's objects are shared: change a copy. (Three times as fast as deepcopy.)"""
    if isinstance(value, dict):
        return {k: copied(v) if isinstance(v, dict | list) else v for k, v in value.items()}
    if isinstance(value, list):
        return [copied(v) if isinstance(v, dict | list) else v for v in value]
    return value


def copied_object(obj: Obj) -> Obj:
    copy: Obj = copied(obj)
    return copy


def value_at(obj: Any, path: str) -> Any:
    """What is at a dotted path, or None; the object itself at the empty one."""
    for step in path.split(".") if path else ():
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj


ALL_VERBS: Final = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
)


@dataclass(frozen=True)
class Resource:
    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    singular: str = ""
    list_kind: str = ""
    verbs: tuple[str, ...] = ALL_VERBS
    generation: bool = False  # metadata.generation counts changes of what is wanted
    # A custom resource's structural schema, the shape made of it, and its printer columns.
    schema: Obj | None = field(default=None, compare=False, repr=False)
    shape: Shape | None = field(default=None, compare=False, repr=False)
    columns: tuple[Obj, ...] = field(default=(), compare=False, repr=False)

    def __hash__(self) -> int:
        """Of the few fields that tell resources apart; that of all fields is felt in every request."""
        return hash((self.group, self.version, self.plural))

    @cached_property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def key(self) -> str:
        """Where objects are kept: the same for all versions."""
        return self.qualified

    @cached_property
    def qualified(self) -> str:
        """`deployments.apps`, `pods`: the name used in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular_name(self) -> str:
        return self.singular or self.kind.lower()

    @property
    def listed_as(self) -> str:
        return self.list_kind or f"{self.kind}List"

    @cached_property
    def has_status(self) -> bool:
        return "status" in self.subresources

    @property
    def custom(self) -> bool:
        return self.schema is not None


class Catalog:
    """All resources served now. Lookups return None for what is not served."""

    def __init__(self, resources: tuple[Resource, ...] = ()) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_key: dict[str, Resource] = {}
        self.revision = 0  # changes whenever the table does
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        self._by_path[resource.group, resource.version, resource.plural] = resource
        self._by_key.setdefault(resource.key, resource)
        self.revision += 1

    def remove(self, *, group: str, plural: str) -> None:
        kept = [resource for resource in self if (resource.group, resource.plural) != (group, plural)]
        self._by_path.clear()
        self._by_key.clear()
        for resource in kept:
            self.add(resource)
        self.revision += 1

    def find(self, group: str, *, version: str, plural: str) -> Resource | None:
        return self._by_path.get((group, version, plural))

    def of_key(self, key: str) -> Resource | None:
        """Some version of the resource whose objects are kept under `key`; the first one declared."""
        return self._by_key.get(key)

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._by_path.values()))

    def groups(self) -> dict[str, list[str]]:
        """group -> versions, in order of declaration; the core group is ""."""
        found: dict[str, list[str]] = {}
        for group, version, _ in self._by_path:
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        return found


_ALL: Final = ("all",)
_STATUS: Final = ("status",)
_SCALED: Final = ("scale", "status")

BINDINGS: Final = Resource("", "v1", "bindings", "Binding", verbs=("create",))
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap", short_names=("cm",))
ENDPOINTS: Final = Resource(
    "", "v1", "endpoints", "Endpoints", short_names=("ep",), singular="endpoints", list_kind="EndpointsList"
)
EVENTS: Final = Resource("", "v1", "events", "Event", short_names=("ev",))
LIMIT_RANGES: Final = Resource("", "v1", "limitranges", "LimitRange", short_names=("limits",))
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", False, ("ns",), subresources=("finalize", "status"))
NODES: Final = Resource("", "v1", "nodes", "Node", False, ("no",), subresources=("status",))
PERSISTENT_VOLUME_CLAIMS: Final = Resource(
    "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, ("pvc",), subresources=_STATUS
)
PERSISTENT_VOLUMES: Final = Resource(
    "", "v1", "persistentvolumes", "PersistentVolume", False, ("pv",), subresources=_STATUS
)
PODS: Final = Resource(
    "",
    "v1",
    "pods",
    "Pod",
    short_names=("po",),
    categories=_ALL,
    subresources=("attach", "binding", "eviction", "exec", "log", "portforward", "proxy", "status"),
)
RESOURCE_QUOTAS: Final = Resource("", "v1", "resourcequotas", "ResourceQuota", True, ("quota",), subresources=_STATUS)
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
SERVICE_ACCOUNTS: Final = Resource(
    "", "v1", "serviceaccounts", "ServiceAccount", short_names=("sa",), subresources=("token",)
)
SERVICES: Final = Resource("", "v1", "services", "Service", True, ("svc",), _ALL, subresources=("proxy", "status"))

CUSTOM_RESOURCE_DEFINITIONS: Final = Resource(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    False,
    ("crd", "crds"),
    ("api-extensions",),
    subresources=_STATUS,
    generation=True,
)
DEPLOYMENTS: Final = Resource(
    "apps", "v1", "deployments", "Deployment", True, ("deploy",), _ALL, _SCALED, generation=True
)
REPLICA_SETS: Final = Resource("apps", "v1", "replicasets", "ReplicaSet", True, ("rs",), _ALL, _SCALED, generation=True)
TOKEN_REVIEWS: Final = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False, verbs=("create",))
SELF_SUBJECT_REVIEWS: Final = Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False, verbs=("create",)
)
LOCAL_SUBJECT_ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "localsubjectaccessreviews", "LocalSubjectAccessReview", verbs=("create",)
)
SELF_SUBJECT_ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False, verbs=("create",)
)
SELF_SUBJECT_RULES_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", False, verbs=("create",)
)
SUBJECT_ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False, verbs=("create",)
)
HORIZONTAL_POD_AUTOSCALERS: Final = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, ("hpa",), _ALL, _STATUS
)
JOBS: Final = Resource("batch", "v1", "jobs", "Job", True, (), _ALL, _STATUS, generation=True)
CERTIFICATE_SIGNING_REQUESTS: Final = Resource(
    "certificates.k8s.io",
    "v1",
    "certificatesigningrequests",
    "CertificateSigningRequest",
    False,
    ("csr",),
    subresources=("approval", "status"),
)
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", generation=True)
INGRESSES: Final = Resource(
    "networking.k8s.io", "v1", "ingresses", "Ingress", True, ("ing",), (), _STATUS, generation=True
)
NETWORK_POLICIES: Final = Resource(
    "networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True, ("netpol",), generation=True
)
POD_DISRUPTION_BUDGETS: Final = Resource(
    "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, ("pdb",), (), _STATUS, generation=True
)
CLUSTER_ROLE_BINDINGS: Final = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False
)
CLUSTER_ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False)
ROLE_BINDINGS: Final = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
STORAGE_CLASSES: Final = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", False, ("sc",))

BUILT_IN: Final[tuple[Resource, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Resource)
)

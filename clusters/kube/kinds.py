"""The kinds of objects the studio speaks of, and where they live on an API server."""

from dataclasses import dataclass
from typing import Any

from routerd import contract

Obj = dict[str, Any]  # a Kubernetes object as JSON
Objects = list[Obj]


@dataclass(frozen=True)
class Kind:
    api_version: str  # "v1", "apps/v1"
    plural: str
    kind: str
    namespaced: bool = True

    def path(self, name: str = "", *, namespace: str | None = None) -> str:
        """URL path of one object, or of the list when `name` is empty (over all namespaces when that is None)."""
        root = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        if self.namespaced and namespace:
            root += f"/namespaces/{namespace}"
        elif self.namespaced and name:
            raise ValueError(f"{self.kind} {name} needs a namespace")
        return f"{root}/{self.plural}" + (f"/{name}" if name else "")

    def label(self, name: str, *, namespace: str | None = None) -> str:
        """How messages name one object: `Pod default/web-0`."""
        return f"{self.kind} {namespace}/{name}" if namespace else f"{self.kind} {name}"


CONFIG_MAPS = Kind("v1", "configmaps", "ConfigMap")
EVENTS = Kind("v1", "events", "Event")
LIMIT_RANGES = Kind("v1", "limitranges", "LimitRange")
NAMESPACES = Kind("v1", "namespaces", "Namespace", namespaced=False)
NODES = Kind("v1", "nodes", "Node", namespaced=False)
PERSISTENT_VOLUME_CLAIMS = Kind("v1", "persistentvolumeclaims", "PersistentVolumeClaim")
PODS = Kind("v1", "pods", "Pod")
RESOURCE_QUOTAS = Kind("v1", "resourcequotas", "ResourceQuota")
SECRETS = Kind("v1", "secrets", "Secret")
SERVICES = Kind("v1", "services", "Service")
SERVICE_ACCOUNTS = Kind("v1", "serviceaccounts", "ServiceAccount")
DEPLOYMENTS = Kind("apps/v1", "deployments", "Deployment")
REPLICA_SETS = Kind("apps/v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Kind("apps/v1", "statefulsets", "StatefulSet")
JOBS = Kind("batch/v1", "jobs", "Job")
ENDPOINT_SLICES = Kind("discovery.k8s.io/v1", "endpointslices", "EndpointSlice")
NETWORK_POLICIES = Kind("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy")
POD_DISRUPTION_BUDGETS = Kind("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget")
LEASES = Kind("coordination.k8s.io/v1", "leases", "Lease")
ROLES = Kind("rbac.authorization.k8s.io/v1", "roles", "Role")
ROLE_BINDINGS = Kind("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = Kind("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = Kind(
    "rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
STORAGE_CLASSES = Kind("storage.k8s.io/v1", "storageclasses", "StorageClass", namespaced=False)
CUSTOM_RESOURCE_DEFINITIONS = Kind(
    "apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
SELF_SUBJECT_ACCESS_REVIEWS = Kind(
    "authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
SELF_SUBJECT_REVIEWS = Kind("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False)
ONLINE_ENDPOINTS = Kind(contract.API_VERSION, "onlineendpoints", "OnlineEndpoint")
INSTANCE_TYPES = Kind(contract.API_VERSION, "instancetypes", "InstanceType", namespaced=False)

KINDS: dict[tuple[str, str], Kind] = {
    (each.api_version, each.kind): each for each in list(globals().values()) if isinstance(each, Kind)
}


def kind_of(obj: Obj) -> Kind:
    """The kind of an object, by its own apiVersion and kind."""
    try:
        return KINDS[obj["apiVersion"], obj["kind"]]
    except KeyError as error:
        raise ValueError(f"clusters.kube.kinds does not know {obj.get('apiVersion')} {obj.get('kind')}") from error


def label_of(obj: Obj) -> str:
    """`Deployment slipway-system/routerd`."""
    meta = obj.get("metadata") or {}
    return kind_of(obj).label(str(meta.get("name", "")), namespace=meta.get("namespace"))

"""What the API server fills in and refuses at creation, as a cluster's admission plug-ins do.

any       PodSecurity (podsecurity.py), ResourceQuota (quota.py)
Pod       ServiceAccount `default`, and its token mounted (automountServiceAccountToken); default tolerations
Service   ClusterIP, node ports
claim     the default StorageClass
"""

import copy
import random
from collections.abc import Callable
from typing import Any, Final

from clusters.embedded import podsecurity, quota
from clusters.embedded.addresses import Block, allocate_service_address, nobody_listens
from clusters.embedded.causes import invalid
from clusters.embedded.controllers import jobs
from clusters.embedded.controllers.namespaces import ROOT_CA
from clusters.embedded.controllers.nodes import default_tolerations
from clusters.embedded.controllers.volumes import CLASS
from clusters.embedded.errors import Forbidden, Invalid
from clusters.embedded.registry import Admission, Registry
from clusters.embedded.relay import OUTSIDE
from clusters.embedded.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Obj,
)

TOKEN_MOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
NODE_PORTS: Final = range(30000, 32768)
_SUFFIX: Final = "bcdfghjklmnpqrstvwxz2456789"


def admission_functions(registry: Registry, *, block: Block) -> list[Callable[[Admission], None]]:
    """To be appended to ``registry.admission``."""
    return [
        lambda admission: podsecurity.admit(admission, registry=registry),
        lambda admission: admit_pod(admission, registry=registry),
        lambda admission: admit_service(admission, registry=registry, block=block),
        admit_claim,
        jobs.admit,
        lambda admission: quota.admit(admission, registry=registry),  # last: it counts what the others left
    ]


def admit_pod(admission: Admission, *, registry: Registry) -> None:
    """Raises Forbidden when the ServiceAccount is not there."""
    if admission.resource != PODS or admission.operation != "CREATE":
        return
    spec, namespace = admission.obj["spec"], admission.obj["metadata"]["namespace"]
    name = spec.setdefault("serviceAccountName", spec.get("serviceAccount") or "default")
    spec["serviceAccount"] = name
    default_tolerations(spec)
    account = registry.find(SERVICE_ACCOUNTS, namespace, name)
    if account is None:
        if name == "default":  # the namespace is so new that its controller has not looked yet
            account = registry.create(SERVICE_ACCOUNTS, {"metadata": {"name": name}}, namespace=namespace)
        else:
            pod = admission.obj["metadata"]["name"]
            message = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
            raise Forbidden(f'pods "{pod}" is forbidden: {message}')
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken", True)
    if wanted:
        _mount_token(spec)


def _mount_token(spec: Obj) -> None:
    name = "kube-api-access-" + "".join(random.choices(_SUFFIX, k=5))  # noqa: S311 - a name, not a secret
    mount = {"name": name, "mountPath": TOKEN_MOUNT, "readOnly": True}
    added = False
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        mounts = container.get("volumeMounts") or []
        if all(other.get("mountPath") != TOKEN_MOUNT for other in mounts):
            container["volumeMounts"] = [*mounts, dict(mount)]
            added = True
    if not added:
        return
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]
            }
        },
    ]
    spec["volumes"] = [
        *(spec.get("volumes") or []),
        {"name": name, "projected": {"defaultMode": 420, "sources": sources}},
    ]


def admit_service(admission: Admission, *, registry: Registry, block: Block) -> None:
    """Raises Invalid for an address or node port that is taken."""
    if admission.resource != SERVICES or admission.subresource:
        return
    spec = admission.obj["spec"]
    if spec.get("type") == "ExternalName":
        return
    others = [s for s in registry.list(SERVICES) if s["metadata"]["uid"] != admission.obj["metadata"].get("uid")]
    old_spec = (admission.old or {}).get("spec") or {}
    for key in ("clusterIP", "clusterIPs"):
        if key in old_spec and not spec.get(key):
            spec[key] = copy.deepcopy(old_spec[key])
    if not spec.get("clusterIP"):
        spec["clusterIP"] = allocate_service_address(block, taken={s["spec"].get("clusterIP") for s in others})
    spec["clusterIPs"] = [spec["clusterIP"]]
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec.get("type") in {"NodePort", "LoadBalancer"}:
        spec.setdefault("externalTrafficPolicy", "Cluster")
        if spec["type"] == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
        _give_node_ports(admission, others=others, old_spec=old_spec)
    else:
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)


def _give_node_ports(admission: Admission, *, others: list[Obj], old_spec: Obj) -> None:
    taken = {p.get("nodePort") for s in others for p in s["spec"].get("ports") or ()} - {None}
    before = {(p.get("name"), p["port"]): p.get("nodePort") for p in old_spec.get("ports") or ()}
    for index, port in enumerate(admission.obj["spec"].get("ports") or ()):
        number: Any = port.get("nodePort") or before.get((port.get("name"), port["port"]))
        if number in taken:
            cause = invalid(f"spec.ports[{index}].nodePort", number, "provided port is already allocated")
            raise Invalid.of(SERVICES, admission.obj["metadata"]["name"], [cause])
        if not number:
            any_order = random.sample(NODE_PORTS, len(NODE_PORTS))
            number = next(n for n in any_order if n not in taken and nobody_listens(OUTSIDE, n))
        port["nodePort"] = number
        taken.add(number)


def admit_claim(admission: Admission) -> None:
    if admission.resource == PERSISTENT_VOLUME_CLAIMS and admission.operation == "CREATE":
        admission.obj["spec"].setdefault("storageClassName", CLASS)

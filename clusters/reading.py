"""One look at a cluster: version, nodes, and what is there of the router. I/O in `read_cluster`, the rest is pure."""

from dataclasses import dataclass

from clusters.capacity import Amounts, Node, read_nodes
from clusters.install.address import service_address
from clusters.install.progress import other_studio
from clusters.kube.client import Kube
from clusters.kube.errors import Forbidden, NotFound, ServerFailed
from clusters.kube.kinds import DEPLOYMENTS, NODES, PODS, SERVICES, Kind, Obj
from clusters.models import RouterState
from clusters.preflight import identity_of
from clusters.quantities import amount
from routerd import contract

_NODE_METRICS = Kind("metrics.k8s.io/v1beta1", "nodes", "NodeMetrics", namespaced=False)


@dataclass(frozen=True)
class RouterReading:
    """The router as it lies in the cluster; `text` is a sentence."""

    state: RouterState  # ABSENT, READY or DEGRADED
    text: str
    version: str = ""
    address: str = ""
    foreign: bool = False  # another studio's


@dataclass(frozen=True)
class Reading:
    """What one look found."""

    uid: str
    version: str
    runtime: str  # "process" on the embedded cluster, else ""
    nodes: tuple[Node, ...]
    router: RouterReading


def read_cluster(kube: Kube, *, studio: str) -> Reading:
    """Look once. Raises KubeError."""
    uid = identity_of(kube)
    version = kube.version()
    raw_nodes = kube.list(NODES)
    nodes = read_nodes(raw_nodes, kube.list(PODS), used=read_use(kube))
    router = read_router(
        kube.find(DEPLOYMENTS, contract.ROUTER, contract.SYSTEM_NAMESPACE),
        kube.find(DEPLOYMENTS, contract.ARTIFACTS, contract.SYSTEM_NAMESPACE),
        kube.find(SERVICES, contract.ROUTER_SERVICE, contract.SYSTEM_NAMESPACE),
        nodes=nodes,
        studio=studio,
    )
    return Reading(uid=uid, version=version, runtime=runtime_of(nodes), nodes=nodes, router=router)


def read_use(kube: Kube) -> dict[str, Amounts]:
    """Measured use by node; {} where the cluster measures nothing."""
    try:
        rows = kube.list(_NODE_METRICS)
    except (NotFound, Forbidden, ServerFailed):
        return {}
    return {
        row["metadata"]["name"]: {name: amount(name, text) for name, text in (row.get("usage") or {}).items()}
        for row in rows
    }


def runtime_of(nodes: tuple[Node, ...]) -> str:
    """ "process" when replicas are processes of this machine instead of containers."""
    return next((node.labels[contract.RUNTIME] for node in nodes if contract.RUNTIME in node.labels), "")


def read_router(
    workload: Obj | None, artifacts: Obj | None, service: Obj | None, *, nodes: tuple[Node, ...], studio: str
) -> RouterReading:
    """The router's state from its objects."""
    if workload is None:
        return RouterReading(state=RouterState.ABSENT, text="")
    foreign = bool(other_studio([workload], studio=studio))
    ready, wanted = _ready(workload)
    version = _tag(workload)
    address = service_address(service, nodes=nodes, scheme=_scheme(workload)) if service else ""
    problems = []
    if ready < wanted:
        problems.append(f"{ready} of {wanted} router pods are ready.")
    if artifacts is None or _ready(artifacts)[0] == 0:
        problems.append("The artifact cache is not ready, so new replicas cannot fetch their model.")
    if not address:
        problems.append("Its Service has no address.")
    return RouterReading(
        state=RouterState.DEGRADED if problems else RouterState.READY,
        text=" ".join(problems) or f"{ready} of {wanted} router pods ready.",
        version=version,
        address=address,
        foreign=foreign,
    )


def _scheme(workload: Obj) -> str:
    """https where the router answers nothing else."""
    variables = workload["spec"]["template"]["spec"]["containers"][0].get("env") or ()
    plain = next((each.get("value") for each in variables if each["name"] == "ROUTERD_PLAIN_HTTP"), "allow")
    return "http" if plain == "allow" else "https"


def _ready(workload: Obj) -> tuple[int, int]:
    status, spec = workload.get("status") or {}, workload.get("spec") or {}
    return int(status.get("readyReplicas") or 0), int(spec.get("replicas") or 0)


def _tag(workload: Obj) -> str:
    image = str(workload["spec"]["template"]["spec"]["containers"][0].get("image") or "")
    return image.rpartition(":")[2] if ":" in image.rpartition("/")[2] else ""

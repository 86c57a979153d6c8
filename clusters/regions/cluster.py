"""The page of one cluster, and the rows of the list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from clusters.capacity import Node, from_json, how_many_fit
from clusters.install.settings import RouterSettings
from clusters.install.settings import from_json as settings_from_json
from clusters.models import Cluster, ClusterState, ComputeTarget, RouterState
from clusters.quantities import amount, in_words
from clusters.queries import size_of
from clusters.recorder import INSTALL, UNINSTALL
from clusters.regions.nodes import NodeRow, node_rows
from clusters.regions.truth import GROUPS, Truth, cluster_truth
from clusters.sizes import DEFAULT_NAME, Size, default_size
from routerd import contract
from studio.models import UNFINISHED, Operation, OperationState, Workspace
from studio.timeline import view_operation

_KINDS = ("attach-cluster", INSTALL, UNINSTALL)


@dataclass(frozen=True)
class ClusterRow:
    """One cluster of the list."""

    cluster: Cluster
    truth: Truth
    nodes: str
    free: str
    router: str
    targets: int


@dataclass(frozen=True)
class SizeRow:
    """One instance type: what it gives and how many more fit now."""

    size: Size
    cluster: Cluster
    asks: str
    limits: str
    where: str
    room: str
    why: str  # why none fits
    shape: str


@dataclass(frozen=True)
class OperationPanel:
    """What is under way on the cluster, or failed last; `view` as on the operation's own page."""

    op: Operation
    view: Any


@dataclass(frozen=True)
class ClusterPage:
    """Everything the page of a cluster shows."""

    truth: Truth
    nodes: list[NodeRow]
    nodes_ready: str
    router: str
    settings: RouterSettings
    panel: OperationPanel | None
    targets: list[ComputeTarget]
    sizes: list[SizeRow]
    process: bool
    isolated: bool
    known: bool  # a look has succeeded at least once
    measured: bool
    has_gpu: bool
    connected: bool
    router_there: bool
    busy: bool


def cluster_rows(workspace: Workspace) -> list[tuple[str, list[ClusterRow]]]:
    """The list, grouped, worst first. Two queries."""
    clusters = (
        Cluster.objects.filter(workspace=workspace)
        .annotate(target_count=Count("compute_targets"))
        .prefetch_related("instance_types")
        .order_by("name")
    )
    rows = [_row(cluster, targets=cluster.target_count) for cluster in clusters]
    return [
        (title, found)
        for rank, title in sorted(GROUPS.items(), reverse=True)
        if (found := [row for row in rows if row.truth.rank == rank])
    ]


def list_truth(groups: Sequence[tuple[str, list[ClusterRow]]]) -> Truth | None:
    """The sentence over the list; None without clusters."""
    rows = [row for _, found in groups for row in found]
    if not rows:
        return None
    bad = [row for row in rows if row.truth.rank >= 2]
    if not bad:
        lead = f"{rows[0].cluster} is connected." if len(rows) == 1 else f"All {len(rows)} clusters are in order."
        return Truth("ok", "Ready", lead, "", 0)
    worst = bad[0]
    more = f"{worst.cluster}: {worst.truth.lead}"
    lead = "1 cluster needs a look." if len(bad) == 1 else f"{len(bad)} clusters need a look."
    return Truth(worst.truth.shape, worst.truth.word, lead, more, worst.truth.rank)


def _row(cluster: Cluster, *, targets: int) -> ClusterRow:
    known = cluster.state == ClusterState.CONNECTED
    nodes = from_json(cluster.nodes) if known else ()  # what was true before is not shown as what is
    return ClusterRow(
        cluster=cluster,
        truth=cluster_truth(cluster, default=_default(cluster)),
        nodes=_ready(nodes),
        free=_free(nodes),
        router=cluster.get_router_state_display() if known else "not known",
        targets=targets,
    )


def _sizes(cluster: Cluster) -> list[Size]:
    """From the prefetched rows; the built-in one among them."""
    sizes = [size_of(row) for row in cluster.instance_types.all()]
    if all(size.name != DEFAULT_NAME for size in sizes):
        sizes.append(default_size(cluster.runtime))
    return sorted(sizes, key=lambda size: size.name)


def _default(cluster: Cluster) -> Size:
    return next(size for size in _sizes(cluster) if size.name == DEFAULT_NAME)


def _ready(nodes: Sequence[Node]) -> str:
    return f"{sum(node.ready for node in nodes)} of {len(nodes)} ready" if nodes else "–"


def _free(nodes: Sequence[Node]) -> str:
    usable = [node for node in nodes if node.takes_pods]
    if not usable:
        return "–"
    cpu, memory = sum(node.free("cpu") for node in usable), sum(node.free("memory") for node in usable)
    return f"{in_words('cpu', cpu)}, {in_words('memory', memory)}"


def cluster_page(cluster: Cluster) -> ClusterPage:
    """The page. Queries: instance types, targets with their endpoints' count, the newest operation and its steps."""
    nodes, sizes = from_json(cluster.nodes), _sizes(cluster)
    default = next(size for size in sizes if size.name == DEFAULT_NAME)
    panel = _panel(cluster)
    connected = cluster.state == ClusterState.CONNECTED
    rows = node_rows(nodes, sizes=sizes, current=connected)
    return ClusterPage(
        truth=cluster_truth(cluster, default=default),
        nodes=rows,
        nodes_ready=_ready(nodes) if connected else "not known",
        router=cluster.get_router_state_display() if connected else "not known",
        settings=settings_from_json(cluster.router_settings),
        panel=panel,
        targets=target_rows(ComputeTarget.objects.filter(cluster=cluster)),
        sizes=[size_row(size, cluster=cluster, nodes=nodes) for size in sizes],
        process=cluster.runtime == contract.RUNTIME_PROCESS,
        isolated=all(node.isolation == "namespaces" for node in nodes),
        known=bool(cluster.nodes),
        measured=any(node.used for node in nodes),
        has_gpu=any(row.gpu for row in rows),
        connected=connected,
        router_there=cluster.router_state != RouterState.ABSENT,
        busy=bool(panel and not panel.op.finished),
    )


def _panel(cluster: Cluster) -> OperationPanel | None:
    """The operation under way, or the last one when it failed."""
    about = Q(subject_kind="cluster", subject_id=str(cluster.pk), kind__in=_KINDS)
    op = Operation.objects.filter(about).order_by("-created_at").first()
    if op is None or not (op.state in UNFINISHED or op.state == OperationState.FAILED):
        return None
    return OperationPanel(op=op, view=view_operation(op, steps=list(op.steps.all()), now=timezone.now()))


def target_rows(targets: QuerySet[ComputeTarget]) -> list[ComputeTarget]:
    """Targets with `endpoint_count`, and their cluster; one query."""
    return list(targets.select_related("cluster").annotate(endpoint_count=Count("endpoints")).order_by("name"))


def size_groups(workspace: Workspace) -> list[tuple[Cluster, list[SizeRow]]]:
    """Every size of every cluster of a workspace, by cluster; two queries."""
    clusters = Cluster.objects.filter(workspace=workspace).prefetch_related("instance_types").order_by("name")
    return [(each, _size_rows(each)) for each in clusters]


def _size_rows(cluster: Cluster) -> list[SizeRow]:
    nodes = from_json(cluster.nodes)
    return [size_row(size, cluster=cluster, nodes=nodes) for size in _sizes(cluster)]


def size_row(size: Size, *, cluster: Cluster, nodes: Sequence[Node]) -> SizeRow:
    fit = how_many_fit(size, nodes)
    known = bool(nodes) and cluster.state == ClusterState.CONNECTED
    return SizeRow(
        size=size,
        cluster=cluster,
        asks=_in_words(size.requests),
        limits=_in_words(size.limits),
        where=", ".join(f"{key}={value}" for key, value in size.node_selector.items()) or "any node",
        room=f"{fit.count:,} more" if known else "not known",
        why=fit.why if known else "",
        shape="idle" if not known else "ok" if fit.count else "warn",
    )


def _in_words(quantities: Mapping[str, str]) -> str:
    """2 cores, 4 GiB; a figure stays with its unit."""
    return ", ".join(in_words(name, amount(name, text)).replace(" ", "\u00a0") for name, text in quantities.items())

"""The status sentence of a cluster: what is so, what it means for callers, since when. Pure.

Worst first, so that a list can be ordered by it:
    3 needs you   cannot be reached, credentials refused, router failed
    2 watch       nodes down, router degraded
    1 under way   being attached, router being installed
    0 fine        ready, or ready but for the router
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from clusters.capacity import Node, from_json, how_many_fit
from clusters.models import Cluster, ClusterState, RouterState
from clusters.sizes import Size
from studio.templatetags.slipway import in_utc

GROUPS = {3: "Needs you", 2: "Watch", 1: "Under way", 0: "Fine"}


@dataclass(frozen=True)
class Truth:
    """`shape` ok, warn, fail, run or idle; `word` for who cannot see it; the sentence's bold part and the rest."""

    shape: str
    word: str
    lead: str
    rest: str
    rank: int


def cluster_truth(cluster: Cluster, *, default: Size) -> Truth:
    """The sentence of one cluster; `default` is the size whose room is told."""
    since = f" since {in_utc(cluster.state_since)}" if cluster.state_since else ""
    if cluster.state == ClusterState.CHECKING:
        return Truth("run", "Checking", "Being attached.", "Nothing in the cluster has been changed.", 1)
    if cluster.state == ClusterState.UNREACHABLE:
        rest = f"{_sentence(cluster.state_text)} A router that runs there goes on without the studio."
        return Truth("fail", "Not reachable", f"Not reachable{since}.", rest.strip(), 3)
    if cluster.state == ClusterState.UNAUTHORIZED:
        return Truth("fail", "Not authorized", f"Slipway may not work in it{since}.", _sentence(cluster.state_text), 3)
    return _connected(cluster, from_json(cluster.nodes), default=default)


def _connected(cluster: Cluster, nodes: Sequence[Node], *, default: Size) -> Truth:
    state = RouterState(cluster.router_state)
    if state == RouterState.FAILED:
        return Truth("fail", "Router failed", "The router does not work.", _sentence(cluster.router_text), 3)
    if state == RouterState.INSTALLING:
        return Truth("run", "Installing", "The router is being changed.", _sentence(cluster.router_text), 1)
    down = [node for node in nodes if not node.ready]
    if down:
        return Truth("warn", "Degraded", _nodes_down(down, nodes), _router_or_room(cluster, nodes, default), 2)
    if state == RouterState.DEGRADED:
        return Truth("warn", "Router degraded", "The router is not whole.", _sentence(cluster.router_text), 2)
    if state == RouterState.ABSENT:
        rest = "Nobody can call an endpoint here until it is installed."
        return Truth("idle", "No router", "Connected, without a router.", rest, 0)
    return Truth("ok", "Ready", "Ready.", _router_or_room(cluster, nodes, default), 0)


def _nodes_down(down: Sequence[Node], nodes: Sequence[Node]) -> str:
    if len(down) == 1:
        return f"{down[0].name} does not report{_since(down[0])}."
    return f"{len(down)} of {len(nodes)} nodes do not report."


def _since(node: Node) -> str:
    if not node.ready_since:
        return ""
    return f" since {in_utc(datetime.fromisoformat(node.ready_since))}"


def _router_or_room(cluster: Cluster, nodes: Sequence[Node], default: Size) -> str:
    if cluster.router_state == RouterState.ABSENT:
        return "There is no router yet, so nobody can call an endpoint here."
    fit = how_many_fit(default, nodes)
    room = f"Room for {fit.count:,} more × {default.name}." if fit.count else f"No room for {default.name}. {fit.why}"
    return f"Callers reach it at {cluster.router_address}. {room}"


def _sentence(text: str) -> str:
    return f"{text}." if text and text[-1] not in ".!?" else text

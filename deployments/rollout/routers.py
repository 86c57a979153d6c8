"""Waiting until every router has something in force.

The sampler writes what routers report into `Endpoint.observed["routers"]`, many times a second while an Operation
waits: {"pods": 2, "generation": 7, "key_revision": 3, "absent": false, "at": "..."}, where the numbers are the lowest
of all router pods. A report from before the change was applied says nothing, so it has to be younger than that.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from deployments.models import Endpoint
from deployments.rollout.errors import NotYetError, RolloutError
from deployments.status import StatusCause, WayOut, causes
from studio.models import Operation

PATIENCE: Final = timedelta(minutes=2)
_LOOK_AGAIN: Final = 5.0


def require_in_force(op: Operation, *, endpoint: Endpoint, now: datetime) -> int:
    """The number of router pods that all have `op.params["routing"]` in force. Raises NotYetError, RolloutError.

    routing: {"generation", "at", "key_revision"?, "absent"?}.
    """
    routing = op.params["routing"]
    endpoint.refresh_from_db(fields=["observed"])
    report = endpoint.observed.get("routers") or {}
    if report and _is_younger(report, than=routing["at"]) and _holds(report, routing=routing):
        return int(report["pods"])
    if now - datetime.fromisoformat(routing["at"]) > PATIENCE:
        raise RolloutError(_not_in_force(report), step=str(routing.get("step", "traffic")))
    raise NotYetError("Waiting for every router.", seconds=_LOOK_AGAIN)


def _is_younger(report: dict[str, Any], *, than: str) -> bool:
    return datetime.fromisoformat(report["at"]) > datetime.fromisoformat(than)


def _holds(report: dict[str, Any], *, routing: dict[str, Any]) -> bool:
    if not report.get("pods"):
        return False
    if routing.get("absent"):
        return bool(report.get("absent"))
    seen = int(report["generation"]), int(report["key_revision"])
    return seen[0] >= int(routing["generation"]) and seen[1] >= int(routing.get("key_revision", 0))


def _not_in_force(report: dict[str, Any]) -> StatusCause:
    if not report.get("pods"):
        text = "No router of this cluster is ready, so callers cannot be answered."
    else:
        text = f"Not all {report['pods']} routers of this cluster have taken the change."
    return StatusCause(
        name=causes.ROUTER,
        text=text,
        proof=str(report.get("problem", "")),
        fixes=(
            WayOut("Have an operator look at the router on the cluster's page."),
            WayOut(
                "Or ask the cluster yourself.",
                command="kubectl --namespace slipway-system get pods --selector app.kubernetes.io/name=routerd",
            ),
        ),
    )

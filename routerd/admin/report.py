"""What a router tells the leader of itself: `GET /v1/report`, asked twice a second, so no longer than it must be.

    {"router": POD_NAME, "loads": {"namespace/endpoint/deployment": [in flight, queued, held, arrived]},
     "in_force": {"namespace/endpoint": [generation, key revision]}}

A deployment without load is left out of `loads`; while the router does not know its loads, `loads` is null.
"""

import time
from typing import Any

from routerd.autoscale.policy import Load
from routerd.board import Board, Report
from routerd.control import InForce, Router


def describe(router: Router, *, board: Board) -> dict[str, Any]:
    """The report of this router, as JSON."""
    now = time.time()
    found = {owner: board.meter.load(owner, now=now) for owner in board.meter.owners()}
    busy = {
        "/".join(owner): [load.in_flight, load.queued, load.held, load.arrived]
        for owner, load in found.items()
        if load and (load.busy or load.arrived)
    }
    return {
        "router": router.settings.pod_name,
        "loads": None if board.meter.is_blind(now=now) or None in found.values() else busy,
        "in_force": {key: [its.generation, its.key_revision] for key, its in router.in_force().items()},
    }


def read(document: Any, *, at: float) -> Report:
    """The report in an answer that came at `at` (unix seconds). Raises ValueError for anything else."""
    try:
        loads = document["loads"]
        known = {} if loads is None else {_owner(key): _load(*row) for key, row in loads.items()}
        in_force = {str(key): InForce(int(row[0]), int(row[1])) for key, row in document["in_force"].items()}
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"not the report of a router: {error!r}") from error
    return Report(at=at, loads=None if loads is None else known, in_force=in_force)


def _load(in_flight: float, queued: float, held: float, arrived: int) -> Load:
    return Load(in_flight=float(in_flight), queued=float(queued), held=float(held), arrived=int(arrived))


def _owner(key: str) -> tuple[str, str, str]:
    namespace, endpoint, deployment = key.split("/")
    return namespace, endpoint, deployment

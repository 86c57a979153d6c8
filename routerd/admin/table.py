"""What is in force, as JSON: the admin API's answer to "what does this router serve, and how busy is it?"."""

from typing import Any

from routerd.board import Board
from routerd.control import Condition, InForce, Router
from routerd.key_use import describe_key_use
from routerd.routes import DeploymentRoute, EndpointRoute
from routerd.slots import SlotOwner


def describe_table(router: Router, *, board: Board) -> dict[str, Any]:
    """`namespace/name` -> what HAProxy has in force for it; endpoints not brought into force yet are absent."""
    table = router.table()
    if table is None:
        return {}
    return {
        endpoint.key: _endpoint(endpoint, in_force=in_force, router=router, board=board)
        for endpoint in table.endpoints
        if (in_force := router.in_force().get(endpoint.key))
    }


def _endpoint(endpoint: EndpointRoute, *, in_force: InForce, router: Router, board: Board) -> dict[str, Any]:
    return {
        "generation": in_force.generation,
        "keyRevision": in_force.key_revision,
        "conditions": [_condition(condition) for condition in in_force.conditions],
        "keys": describe_key_use(endpoint, used=board.keys_used),
        "deployments": {
            route.name: _deployment(
                route, owner=(endpoint.namespace, endpoint.name, route.name), router=router, board=board
            )
            for route in endpoint.deployments
        },
    }


def _deployment(route: DeploymentRoute, *, owner: SlotOwner, router: Router, board: Board) -> dict[str, Any]:
    sample = board.meter.last_sample.get(owner)
    return {
        "ready": len(route.replicas),
        "desired": board.asked.get(owner),
        "in_flight": sample.in_flight if sample else None,
        "queued": round(sample.queued + sample.held, 2) if sample else None,
        "slot": router.slots().find(owner),
    }


def _condition(condition: Condition) -> dict[str, Any]:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
    }

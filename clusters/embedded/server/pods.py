"""What is particular to pods: binding to a node, eviction under disruption budgets."""

from aiohttp import web

from clusters.embedded import selectors
from clusters.embedded.errors import BadRequest, Conflict, NotImplementedHere, TooManyRequests
from clusters.embedded.registry import Registry
from clusters.embedded.resources import POD_DISRUPTION_BUDGETS, PODS, Obj, copied
from clusters.embedded.server import answer
from clusters.embedded.server.body import read_checked
from clusters.embedded.server.context import CONTEXT
from clusters.embedded.server.options import dry_run
from clusters.embedded.server.request import Asked


async def not_here(_request: web.Request, asked: Asked) -> web.StreamResponse:
    raise NotImplementedHere(f"pods/{asked.subresource} is not available on the embedded cluster")


async def bind(request: web.Request, asked: Asked) -> web.StreamResponse:
    registry = request.app[CONTEXT].registry
    target = (await read_checked(request)).get("target") or {}
    if target.get("kind", "Node") != "Node" or not target.get("name"):
        raise BadRequest("a binding needs a target of kind Node with a name")
    old = registry.get(PODS, asked.namespace, str(asked.name))
    if old["spec"].get("nodeName"):
        why = f"pod {asked.name} is already assigned to node {old['spec']['nodeName']!r}"
        raise Conflict.of(PODS, str(asked.name), why=why)
    pod = copied(old)
    pod["spec"]["nodeName"] = target["name"]
    registry.update(PODS, pod, dry_run=dry_run(request))
    await registry.committed()
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return answer.json(request, status, code=201)


async def evict(request: web.Request, asked: Asked) -> web.StreamResponse:
    """Delete a pod unless a PodDisruptionBudget forbids it now (429, as a real API server answers)."""
    registry = request.app[CONTEXT].registry
    eviction = await read_checked(request)
    pod = registry.get(PODS, asked.namespace, str(asked.name))
    options = eviction.get("deleteOptions") or {}
    dry = dry_run(request) or bool(options.get("dryRun"))
    running = (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed", "Pending")
    if running and "deletionTimestamp" not in pod["metadata"]:
        _spend(registry, pod, dry=dry)
    registry.delete(
        PODS,
        asked.namespace,
        str(asked.name),
        grace_seconds=options.get("gracePeriodSeconds"),
        preconditions_uid=(options.get("preconditions") or {}).get("uid"),
        dry_run=dry,
    )
    await registry.committed()
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return answer.json(request, status, code=201)


def _spend(registry: Registry, pod: Obj, *, dry: bool) -> None:
    """Take one disruption of the pod's budget, or raise TooManyRequests."""
    budgets = [
        budget
        for budget in registry.list(POD_DISRUPTION_BUDGETS, pod["metadata"]["namespace"])
        if selectors.from_object(budget["spec"].get("selector")).matches(pod["metadata"].get("labels"))
    ]
    for budget in budgets:
        allowed = (budget.get("status") or {}).get("disruptionsAllowed", 0)
        if allowed <= 0:
            name = budget["metadata"]["name"]
            raise TooManyRequests(
                "Cannot evict pod as it would violate the pod's disruption budget.",
                details={
                    "causes": [
                        {
                            "reason": "DisruptionBudget",
                            "message": f"The disruption budget {name} needs more healthy pods",
                        }
                    ]
                },
            )
        if not dry:
            new = copied(budget)
            new["status"]["disruptionsAllowed"] = allowed - 1
            registry.update_status(POD_DISRUPTION_BUDGETS, new)

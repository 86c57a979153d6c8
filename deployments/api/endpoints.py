"""Endpoints and their keys."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Body, Router
from ninja.responses import Status

from clusters.models import ComputeTarget
from deployments import access, services
from deployments.api.shapes import Json, endpoint_json, operation_json, row_json
from deployments.models import Endpoint
from deployments.regions.endpoint import endpoint_head
from deployments.regions.endpoints import endpoint_list
from deployments.specs import EndpointSpec, parse_endpoint
from studio.access import workspace_for
from studio.actor import actor_of
from studio.errors import FieldErrors
from studio.models import Role

router = Router(tags=["endpoints"])


@router.get("/workspaces/{workspace}/endpoints")
def list_endpoints(request: HttpRequest, workspace: str, page: int = 1, find: str = "") -> Json:
    """A page of the workspace's endpoints, worst first."""
    found = endpoint_list(workspace_for(request, workspace), now=timezone.now(), page=max(1, page), find=find)
    rows = [row_json(row) for group in found.groups for row in group.rows]
    return {"endpoints": rows, "total": found.total, "page": found.page, "pages": found.pages}


@router.get("/workspaces/{workspace}/endpoints/{endpoint}")
def get_endpoint(request: HttpRequest, workspace: str, endpoint: str) -> Json:
    """One endpoint."""
    return _told(access.endpoint_for(request, workspace, endpoint))


@router.put("/workspaces/{workspace}/endpoints/{endpoint}", response={200: Any, 201: Any, 202: Any})
def put_endpoint(request: HttpRequest, workspace: str, endpoint: str, body: Body[dict[str, Any]]) -> Any:
    """Make the endpoint, or move its traffic to what is said. 201 made, 202 traffic moves, 200 nothing to do."""
    owner = workspace_for(request, workspace, role=Role.DATA_SCIENTIST)
    spec = parse_endpoint({"name": endpoint, **body})
    if spec.name != endpoint:
        raise FieldErrors({"name": [f"Must be {endpoint}, as in the address."]})
    target = ComputeTarget.objects.select_related("cluster").filter(workspace=owner, name=spec.compute).first()
    if target is None:
        raise FieldErrors({"compute": [f"Must be a compute target of {owner}; there is no {spec.compute}."]})
    there = Endpoint.objects.select_related("workspace", "target__cluster", "created_by").filter(
        workspace=owner, name=endpoint
    )
    found = there.first()
    if found is None:
        services.create_endpoint(owner, spec=spec, target=target, actor=actor_of(request))
        return Status(201, _told(there.get()))
    return _changed(request, found=found, spec=spec)


def _changed(request: HttpRequest, *, found: Endpoint, spec: EndpointSpec) -> Any:
    fixed = {"compute": found.target.name, "auth_mode": found.auth_mode}
    errors = {key: [f"Must stay {value}."] for key, value in fixed.items() if getattr(spec, key) != value}
    if errors:
        raise FieldErrors(errors)
    if spec.traffic == found.traffic and spec.mirror == found.mirror:
        return Status(200, _told(found))
    operation = services.set_traffic(found, traffic=spec.traffic, mirror=spec.mirror, actor=actor_of(request))
    return Status(202, {"operation": operation_json(operation)})


@router.delete("/workspaces/{workspace}/endpoints/{endpoint}", response={202: Any})
def delete_endpoint(request: HttpRequest, workspace: str, endpoint: str) -> Any:
    """Delete the endpoint and all behind it."""
    found = access.endpoint_for(request, workspace, endpoint, role=Role.DATA_SCIENTIST)
    operation = services.delete_endpoint(found, actor=actor_of(request))
    return Status(202, {"operation": operation_json(operation)})


@router.post("/workspaces/{workspace}/endpoints/{endpoint}/keys/{key}/rotate", response={202: Any})
def rotate_key(request: HttpRequest, workspace: str, endpoint: str, key: str) -> Any:
    """A new value for a key, told once; the operation ends when the old one has stopped on every router."""
    found = access.endpoint_for(request, workspace, endpoint, role=Role.DATA_SCIENTIST)
    made, operation = services.rotate_key(found, name=key, actor=actor_of(request))
    return Status(202, {"key": {"name": made.name, "value": made.value}, "operation": operation_json(operation)})


def _told(endpoint: Endpoint) -> Json:
    return endpoint_json(endpoint, head=endpoint_head(endpoint, now=timezone.now()))

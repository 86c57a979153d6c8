"""Deployments and the code they are made of."""

from typing import Any, cast

from django.http import Http404, HttpRequest
from django.utils import timezone
from ninja import Body, File, Router
from ninja.files import UploadedFile
from ninja.responses import Status

from deployments import access, services
from deployments.api.shapes import Json, deployment_json, operation_json
from deployments.regions.deployments import deployment_rows
from deployments.specs import parse_deployment
from studio.access import workspace_for
from studio.actor import actor_of
from studio.errors import FieldErrors
from studio.models import Role

router = Router(tags=["deployments"])


@router.get("/workspaces/{workspace}/endpoints/{endpoint}/deployments")
def list_deployments(request: HttpRequest, workspace: str, endpoint: str) -> Json:
    """The endpoint's deployments."""
    found = access.endpoint_for(request, workspace, endpoint)
    return {"deployments": [deployment_json(row) for row in deployment_rows(found, now=timezone.now())]}


@router.get("/workspaces/{workspace}/endpoints/{endpoint}/deployments/{deployment}")
def get_deployment(request: HttpRequest, workspace: str, endpoint: str, deployment: str) -> Json:
    """One deployment."""
    found = access.endpoint_for(request, workspace, endpoint)
    rows = [row for row in deployment_rows(found, now=timezone.now()) if row.name == deployment]
    if not rows:
        raise Http404(f"There is no deployment {deployment} behind {endpoint}.")
    return deployment_json(rows[0])


@router.put("/workspaces/{workspace}/endpoints/{endpoint}/deployments/{deployment}", response={202: Any})
def put_deployment(
    request: HttpRequest, workspace: str, endpoint: str, deployment: str, body: Body[dict[str, Any]]
) -> Any:
    """Deploy what is said: a new deployment, or the next revision of the one with that name."""
    found = access.endpoint_for(request, workspace, endpoint, role=Role.DATA_SCIENTIST)
    spec = parse_deployment({"name": deployment, "endpoint_name": endpoint, **body})
    if spec.name != deployment:
        raise FieldErrors({"name": [f"Must be {deployment}, as in the address."]})
    _, operation = services.deploy(found, spec=spec, actor=actor_of(request))
    return Status(202, {"operation": operation_json(operation)})


@router.delete("/workspaces/{workspace}/endpoints/{endpoint}/deployments/{deployment}", response={202: Any})
def delete_deployment(request: HttpRequest, workspace: str, endpoint: str, deployment: str) -> Any:
    """Delete the deployment; it must have no traffic."""
    found = access.endpoint_for(request, workspace, endpoint, role=Role.DATA_SCIENTIST)
    operation = services.delete_deployment(access.deployment_for(found, deployment), actor=actor_of(request))
    return Status(202, {"operation": operation_json(operation)})


@router.post("/workspaces/{workspace}/code", response={201: Any})
def upload_code(request: HttpRequest, workspace: str, files: list[UploadedFile] = File(...)) -> Any:  # noqa: B008 - Ninja reads it
    """Keep a scoring script and what it imports. `code` of the answer goes into code_configuration.code."""
    owner = workspace_for(request, workspace, role=Role.DATA_SCIENTIST)
    named = [(each.name or "", cast("Any", each)) for each in files]
    artifact = services.pack_code(owner, files=named, actor=actor_of(request))
    return Status(201, {"code": f"sha256:{artifact.digest}", "size": artifact.size, "files": artifact.files})

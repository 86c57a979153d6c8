"""What a change became."""

from uuid import UUID

from django.http import HttpRequest
from ninja import Router

from deployments.api.shapes import Json, operation_json
from studio.access import operation_for

router = Router(tags=["operations"])


@router.get("/workspaces/{workspace}/operations/{operation_id}")
def get_operation(request: HttpRequest, workspace: str, operation_id: UUID) -> Json:
    """One operation."""
    return operation_json(operation_for(request, workspace, operation_id))

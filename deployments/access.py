"""Who may see and change endpoints, deployments, models and environments: every check of them is here.

Each returns the object or raises: Http404 for strangers and for what is not there, PermissionDenied (403) for members
whose role is too small. Objects come with what every page of them shows, so that a page costs no query more per row.
"""

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest

from deployments.models import Deployment, Endpoint, Environment, Model
from studio.access import includes, workspace_for
from studio.models import LogStream, Role


def may_change(request: HttpRequest) -> bool:
    """Whether the member whose workspace was looked up may change endpoints, models and environments in it."""
    return includes(getattr(request, "role", None), Role.DATA_SCIENTIST)


def endpoint_for(request: HttpRequest, workspace: str, name: str, *, role: Role = Role.READER) -> Endpoint:
    """An endpoint with its target, cluster, workspace and maker."""
    owner = workspace_for(request, workspace, role=role)
    found = (
        Endpoint.objects.select_related("workspace", "target__cluster", "created_by")
        .filter(workspace=owner, name=name)
        .first()
    )
    if found is None:
        raise Http404(f"There is no endpoint {name} in {workspace}.")
    return found


def deployment_for(endpoint: Endpoint, name: str) -> Deployment:
    """A deployment of an endpoint that was reached through `endpoint_for`."""
    found = endpoint.deployments.select_related("model", "environment", "code", "endpoint").filter(name=name).first()
    if found is None:
        raise Http404(f"There is no deployment {name} behind {endpoint}.")
    return found


def model_for(request: HttpRequest, workspace: str, name: str, version: int) -> Model:
    """A version of a model with its files and its maker."""
    owner = workspace_for(request, workspace)
    found = (
        Model.objects.select_related("workspace", "artifact", "created_by")
        .filter(workspace=owner, name=name, version=version)
        .first()
    )
    if found is None:
        raise Http404(f"There is no model {name}:{version} in {workspace}.")
    return found


def environment_for(request: HttpRequest, workspace: str, name: str, version: int) -> Environment:
    """A version of an environment with its maker."""
    owner = workspace_for(request, workspace)
    found = (
        Environment.objects.select_related("workspace", "created_by")
        .filter(workspace=owner, name=name, version=version)
        .first()
    )
    if found is None:
        raise Http404(f"There is no environment {name}:{version} in {workspace}.")
    return found


def stream_of(endpoint: Endpoint, stream_id: int) -> LogStream:
    """A log stream of one of the endpoint's deployments."""
    ids = [str(pk) for pk in endpoint.deployments.values_list("pk", flat=True)]
    found = LogStream.objects.filter(
        workspace=endpoint.workspace, subject_kind="deployment", subject_id__in=ids, pk=stream_id
    ).first()
    if found is None:
        raise Http404(f"There is no such log of {endpoint}.")
    return found


def may_hear_endpoint(user: User, rest: str) -> bool:
    """endpoint-<id> and endpoint-<id>-metrics: members of its workspace."""
    return Endpoint.objects.filter(pk=int(rest.partition("-")[0]), workspace__memberships__user=user).exists()


def may_hear_deployment(user: User, rest: str) -> bool:
    """deployment-<id>: members of its workspace."""
    return Deployment.objects.filter(pk=int(rest), endpoint__workspace__memberships__user=user).exists()

"""Creating and deleting endpoints.

An endpoint is a row until its first deployment: only then is there something in the cluster for a router to know.
"""

import secrets

from django.db import transaction
from django.utils import timezone

from clusters.models import ComputeTarget
from deployments.models import AuthMode, Deployment, Endpoint, EndpointKey
from deployments.services.busy import BusyError, refuse_deleting, unfinished_of
from deployments.specs import EndpointSpec, endpoint_to_json
from routerd.contract import key_hash
from studio.actor import Actor
from studio.errors import FieldErrors
from studio.live import notify
from studio.models import Operation, Workspace
from studio.services.audit import record
from studio.services.operations import Step, Subject, start_operation

KEY_NAMES = ("primary", "secondary")
KEY_BYTES = 32  # 256 bits

DELETE_STEPS = (
    Step("router", "Take out of the router"),
    Step("objects", "Delete what runs"),
    Step("gone", "Wait until nothing is left"),
)


def subject_of(endpoint: Endpoint) -> Subject:
    """What operations and the audit call an endpoint."""
    return Subject("endpoint", str(endpoint.pk), endpoint.name)


def make_key() -> str:
    """A new key: 256 random bits, safe in a header."""
    return secrets.token_urlsafe(KEY_BYTES)


def create_endpoint(workspace: Workspace, *, spec: EndpointSpec, target: ComputeTarget, actor: Actor) -> Endpoint:
    """The endpoint with its two keys. Raises FieldErrors: name, compute, traffic."""
    if target.workspace_id != workspace.pk:
        raise FieldErrors({"compute": [f"Must be a compute target of {workspace}."]})
    if spec.traffic or spec.mirror:
        raise FieldErrors({"traffic": ["Must be left out: there is no deployment yet that could take it."]})
    with transaction.atomic():
        Workspace.objects.select_for_update().get(pk=workspace.pk)
        _refuse_taken(workspace, spec=spec, target=target)
        endpoint = Endpoint.objects.create(
            workspace=workspace,
            target=target,
            name=spec.name,
            description=spec.description,
            tags=dict(spec.tags),
            auth_mode=spec.auth_mode,
            created_by=actor.user,
        )
        if spec.auth_mode == AuthMode.KEY:
            _make_keys(endpoint)
        record(
            actor,
            workspace=workspace,
            action="endpoint.create",
            subject=subject_of(endpoint),
            after=endpoint_to_json(spec) | {"compute": target.name},
        )
        notify(f"workspace-{workspace.pk}-endpoints")
    return endpoint


def _refuse_taken(workspace: Workspace, *, spec: EndpointSpec, target: ComputeTarget) -> None:
    if Endpoint.objects.filter(workspace=workspace, name=spec.name).exists():
        raise FieldErrors({"name": [f"Must be another name: there is an endpoint {spec.name} in {workspace}."]})
    # Callers say only the name, so it is unique in the whole cluster, whoever attached it.
    if Endpoint.objects.filter(target__cluster__uid=target.cluster.uid, name=spec.name).exists():
        raise FieldErrors({"name": [f"Must be another name: {spec.name} is taken on cluster {target.cluster}."]})


def _make_keys(endpoint: Endpoint) -> None:
    now = timezone.now()
    for name in KEY_NAMES:
        value = make_key()
        EndpointKey.objects.create(endpoint=endpoint, name=name, value=value, sha256=key_hash(value), created_at=now)


def delete_endpoint(endpoint: Endpoint, *, actor: Actor) -> Operation:
    """Take the endpoint out of the router, then delete all its deployments. Raises BusyError."""
    with transaction.atomic():
        endpoint = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        refuse_deleting(endpoint)
        for deployment in Deployment.objects.filter(endpoint=endpoint):
            if running := unfinished_of("deployment", deployment.pk):
                raise BusyError(f"{deployment} is being changed: {running.title}. Cancel that first.")
        Endpoint.objects.filter(pk=endpoint.pk).update(deleting=True)
        record(
            actor,
            workspace=endpoint.workspace,
            action="endpoint.delete",
            subject=subject_of(endpoint),
            before={"traffic": endpoint.traffic, "deployments": [d.name for d in endpoint.deployments.all()]},
        )
        notify(f"workspace-{endpoint.workspace_id}-endpoints")
        notify(f"endpoint-{endpoint.pk}")
        return start_operation(
            endpoint.workspace,
            kind="delete-endpoint",
            title=f"Delete {endpoint}",
            subject=subject_of(endpoint),
            task="deployments.tasks.deletion.advance_endpoint",
            steps=DELETE_STEPS,
            actor=actor,
            params={"endpoint": endpoint.pk},
        )

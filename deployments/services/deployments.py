"""Deploying and deleting deployments: check what is asked for against what there is, write it down, start."""

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from clusters.models import InstanceType, RouterState
from deployments.models import Artifact, Deployment, DeploymentRevision, Endpoint, Environment, Model
from deployments.services.busy import BusyError, refuse_busy_deployment, refuse_deleting
from deployments.services.endpoints import DELETE_STEPS
from deployments.specs import (
    DEFAULT_INSTANCE_TYPE,
    DeploymentSpec,
    deployment_to_json,
    parse_deployment,
    parse_reference,
)
from routerd.contract import RUNTIME_PROCESS
from studio.actor import Actor
from studio.errors import FieldErrors, SlipwayError
from studio.live import notify
from studio.models import Operation, Workspace
from studio.services.audit import record
from studio.services.operations import Step, Subject, start_operation

MOST_DEPLOYMENTS = 20  # of one endpoint

# The order of Kubernetes: an init container fetches the model before the server's image is pulled.
DEPLOY_STEPS = (
    Step("image", "Image"),
    Step("artifacts", "Artifacts"),
    Step("apply", "Apply"),
    Step("schedule", "Schedule"),
    Step("fetch", "Fetch model"),
    Step("pull", "Pull image"),
    Step("init", "init()"),
    Step("probes", "Probes"),
    Step("traffic", "Traffic"),
)


@dataclass(frozen=True)
class _Parts:
    """The rows a spec names."""

    model: Model | None
    environment: Environment
    code: Artifact


def subject_of(deployment: Deployment) -> Subject:
    """What operations and the audit call a deployment."""
    return Subject("deployment", str(deployment.pk), str(deployment))


def deploy(endpoint: Endpoint, *, spec: DeploymentSpec, actor: Actor) -> tuple[Deployment, Operation]:
    """Roll out `spec`: a new deployment of the endpoint, or the next revision of the one with that name.

    Raises FieldErrors by the spec's paths, BusyError, SlipwayError.
    """
    if endpoint.target.cluster.router_state == RouterState.ABSENT:
        raise SlipwayError(
            f"There is no router on cluster {endpoint.target.cluster}, so nobody could call {spec.name}. "
            "An operator installs it on the cluster's page."
        )
    parts = find_parts(endpoint, spec=spec)
    with transaction.atomic():
        endpoint = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        refuse_deleting(endpoint)
        known = Deployment.objects.filter(endpoint=endpoint, name=spec.name).first()
        before = _without_values(known.spec) if known else None
        deployment = _write_revision(endpoint, deployment=known, spec=spec, parts=parts, actor=actor)
        record(
            actor,
            workspace=endpoint.workspace,
            action="deployment.deploy",
            subject=subject_of(deployment),
            before=before,
            after=_without_values(deployment.spec) | {"revision": deployment.revision},
        )
        operation = start_operation(
            endpoint.workspace,
            kind="deploy",
            title=f"Deploy {spec.name} to {endpoint}",
            subject=subject_of(deployment),
            task="deployments.tasks.deploy.advance",
            steps=DEPLOY_STEPS,
            actor=actor,
            params={"deployment": deployment.pk, "revision": deployment.revision},
            summary="Waiting to begin.",
        )
        notify(f"deployment-{deployment.pk}")
        notify(f"endpoint-{endpoint.pk}")
        notify(f"workspace-{endpoint.workspace_id}-endpoints")
    return deployment, operation


def deploy_again(deployment: Deployment, *, revision: int, actor: Actor) -> Operation:
    """Roll out what an earlier revision asked for, as the next one. Raises as `deploy`; SlipwayError for none such."""
    asked = DeploymentRevision.objects.filter(deployment=deployment, number=revision).first()
    if asked is None:
        raise SlipwayError(f"{deployment} has no revision {revision}. Its newest is {deployment.revision}.")
    _, operation = deploy(deployment.endpoint, spec=parse_deployment(asked.spec), actor=actor)
    return operation


def find_parts(endpoint: Endpoint, *, spec: DeploymentSpec) -> _Parts:
    """The rows a spec names, all of them or FieldErrors."""
    workspace, errors = endpoint.workspace, dict[str, list[str]]()
    if spec.endpoint_name != endpoint.name:
        errors["endpoint_name"] = [f"Must be {endpoint.name}."]
    model = _find_model(workspace, spec=spec, errors=errors)
    environment = _find_environment(endpoint, spec=spec, errors=errors)
    code = _find_code(workspace, spec=spec, errors=errors)
    _check_instance_type(endpoint, spec=spec, errors=errors)
    if errors or environment is None or code is None:
        raise FieldErrors(errors)
    return _Parts(model=model, environment=environment, code=code)


def _find_model(workspace: Workspace, *, spec: DeploymentSpec, errors: dict[str, list[str]]) -> Model | None:
    if spec.model is None:
        return None
    name, version = parse_reference(spec.model) or ("", 0)
    model = Model.objects.filter(workspace=workspace, name=name, version=version).first()
    if model is None:
        errors["model"] = [f"Must be a registered model; there is no {spec.model} in {workspace}."]
    return model


def _find_environment(endpoint: Endpoint, *, spec: DeploymentSpec, errors: dict[str, list[str]]) -> Environment | None:
    name, version = parse_reference(spec.environment) or ("", 0)
    environment = Environment.objects.filter(workspace=endpoint.workspace, name=name, version=version).first()
    if environment is None:
        errors["environment"] = [f"Must be a registered environment; there is no {spec.environment}."]
    elif environment.image and endpoint.target.cluster.runtime == RUNTIME_PROCESS:
        where = f"cluster {endpoint.target.cluster}: it runs replicas as processes and has no images"
        errors["environment"] = [f"Must be pip requirements on {where}. Attach a Kubernetes cluster for images."]
    elif not environment.image and endpoint.target.cluster.runtime != RUNTIME_PROCESS:
        errors["environment"] = [
            f"Must be an image on cluster {endpoint.target.cluster}: Slipway does not build images there yet."
        ]
    return environment


def _find_code(workspace: Workspace, *, spec: DeploymentSpec, errors: dict[str, list[str]]) -> Artifact | None:
    code = workspace.artifacts.filter(digest=spec.code_digest).first()
    if code is None:
        errors["code_configuration.code"] = [f"Must be uploaded; {workspace} does not have these files."]
    elif spec.scoring_script not in {file["path"] for file in code.files}:
        files = ", ".join(sorted(file["path"] for file in code.files if file["path"].endswith(".py"))[:5]) or "none"
        errors["code_configuration.scoring_script"] = [f"Must be one of the uploaded .py files: {files}."]
    return code


def _check_instance_type(endpoint: Endpoint, *, spec: DeploymentSpec, errors: dict[str, list[str]]) -> None:
    types = InstanceType.objects.filter(cluster=endpoint.target.cluster)
    if spec.instance_type == DEFAULT_INSTANCE_TYPE or types.filter(name=spec.instance_type).exists():
        return
    known = ", ".join([*types.values_list("name", flat=True), DEFAULT_INSTANCE_TYPE])
    errors["instance_type"] = [f"Must be an instance type of cluster {endpoint.target.cluster}: {known}."]


def _write_revision(
    endpoint: Endpoint, *, deployment: Deployment | None, spec: DeploymentSpec, parts: _Parts, actor: Actor
) -> Deployment:
    if deployment is None:
        if endpoint.deployments.count() >= MOST_DEPLOYMENTS:
            raise FieldErrors(
                {"name": [f"Must be one of the {MOST_DEPLOYMENTS} deployments there are; more do not fit."]}
            )
        deployment = Deployment(endpoint=endpoint, name=spec.name, revision=0, created_by=actor.user)
    else:
        refuse_busy_deployment(deployment)
    deployment.revision += 1
    deployment.spec = deployment_to_json(spec)
    deployment.model, deployment.environment, deployment.code = parts.model, parts.environment, parts.code
    deployment.save()
    DeploymentRevision.objects.create(
        deployment=deployment, number=deployment.revision, spec=deployment.spec, created_by=actor.user
    )
    return deployment


def _without_values(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec for the audit: environment variables by name only, because their values may be secrets."""
    return spec | {"environment_variables": sorted(spec.get("environment_variables", {}))}


def delete_deployment(deployment: Deployment, *, actor: Actor) -> Operation:
    """Take the deployment out of the router, then delete what runs. Raises BusyError."""
    with transaction.atomic():
        endpoint = Endpoint.objects.select_for_update().get(pk=deployment.endpoint_id)
        deployment = Deployment.objects.select_related("endpoint").get(pk=deployment.pk)
        refuse_busy_deployment(deployment)
        for share, what in ((endpoint.traffic, "of the traffic"), (endpoint.mirror, "mirrored to it")):
            if share.get(deployment.name):
                raise BusyError(
                    f"{deployment} has {share[deployment.name]} % {what}. Move that elsewhere, then delete it."
                )
        Deployment.objects.filter(pk=deployment.pk).update(deleting=True)
        record(
            actor,
            workspace=endpoint.workspace,
            action="deployment.delete",
            subject=subject_of(deployment),
            before=_without_values(deployment.spec),
        )
        notify(f"deployment-{deployment.pk}")
        notify(f"endpoint-{endpoint.pk}")
        return start_operation(
            endpoint.workspace,
            kind="delete-deployment",
            title=f"Delete {deployment.name} of {endpoint}",
            subject=subject_of(deployment),
            task="deployments.tasks.deletion.advance_deployment",
            steps=DELETE_STEPS,
            actor=actor,
            params={"deployment": deployment.pk, "endpoint": endpoint.pk},
        )

"""Registering models, environments and code: what deployments are made of. A version is never changed afterwards."""

from collections.abc import Iterable, Mapping
from typing import IO

from django.db import transaction
from django.db.models import Max

from deployments.artifacts.keep import keep_artifact
from deployments.artifacts.pack import CODE_LIMITS, MODEL_LIMITS
from deployments.models import Artifact, Environment, Model
from deployments.specs import normalise_definition, parse_environment, registry_name_error
from studio.actor import Actor
from studio.errors import FieldErrors
from studio.live import notify
from studio.models import Workspace
from studio.services.audit import record
from studio.services.operations import Subject

_NOT_CODE = frozenset({"__pycache__", ".git", ".venv", ".DS_Store"})


def register_model(
    workspace: Workspace,
    *,
    name: str,
    files: Iterable[tuple[str, IO[bytes]]],
    description: str = "",
    tags: Mapping[str, str] | None = None,
    actor: Actor,
) -> Model:
    """The next version of the model `name`, made of `files` (relative path, seekable file).

    Raises FieldErrors: name, files.
    """
    if error := registry_name_error(name):
        raise FieldErrors({"name": [error]})
    artifact = keep_artifact(workspace, files=files, limits=MODEL_LIMITS, field="files")
    with transaction.atomic():
        _lock(workspace)
        newest = Model.objects.filter(workspace=workspace, name=name).aggregate(n=Max("version"))["n"]
        model = Model.objects.create(
            workspace=workspace,
            name=name,
            version=(newest or 0) + 1,
            artifact=artifact,
            description=description,
            tags=dict(tags or {}),
            created_by=actor.user,
        )
        record(
            actor,
            workspace=workspace,
            action="model.register",
            subject=Subject("model", str(model.pk), str(model)),
            after={"digest": artifact.digest, "files": len(artifact.files), "size": artifact.size},
        )
        notify(f"workspace-{workspace.pk}-models")
    return model


def register_environment(
    workspace: Workspace,
    *,
    name: str,
    requirements: str = "",
    image: str = "",
    python_version: str = "3.11",
    description: str = "",
    actor: Actor,
) -> Environment:
    """The next version of the environment `name`: pip requirements that are built, or an image that exists.

    Raises FieldErrors: name, requirements, image, python_version. Empty requirements and no image are the scoring
    server alone.
    """
    spec = parse_environment(name=name, requirements=requirements, image=image, python_version=python_version)
    definition = normalise_definition(spec.requirements, python_version=spec.python_version)
    with transaction.atomic():
        _lock(workspace)
        newest = Environment.objects.filter(workspace=workspace, name=spec.name).aggregate(n=Max("version"))["n"]
        environment = Environment.objects.create(
            workspace=workspace,
            name=spec.name,
            version=(newest or 0) + 1,
            image=spec.image,
            requirements=spec.requirements,
            python_version=spec.python_version,
            definition_hash="" if spec.image else definition.hash,
            description=description,
            created_by=actor.user,
        )
        record(
            actor,
            workspace=workspace,
            action="environment.register",
            subject=Subject("environment", str(environment.pk), str(environment)),
            after={"image": spec.image} if spec.image else {"requirements": list(definition.lines)},
        )
        notify(f"workspace-{workspace.pk}-environments")
    return environment


def pack_code(workspace: Workspace, *, files: Iterable[tuple[str, IO[bytes]]], actor: Actor) -> Artifact:
    """The artifact of a code folder; caches and version control in it are left out. Raises FieldErrors: code."""
    kept = [(path, file) for path, file in files if not _NOT_CODE & set(path.split("/"))]
    artifact = keep_artifact(workspace, files=kept, limits=CODE_LIMITS, field="code")
    record(
        actor,
        workspace=workspace,
        action="code.upload",
        subject=Subject("artifact", artifact.digest, artifact.digest[:12]),
        after={"files": [path["path"] for path in artifact.files][:50], "size": artifact.size},
    )
    return artifact


def _lock(workspace: Workspace) -> None:
    """Versions are given one at a time."""
    Workspace.objects.select_for_update().get(pk=workspace.pk)

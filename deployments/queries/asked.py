"""What was asked of deployments, for their status: constant queries however many there are."""

from collections.abc import Iterable

from deployments.models import Deployment, DeploymentRevision
from deployments.status import Asked, StatusCause, WayOut
from studio.models import UNFINISHED, Operation, OperationState


def asked_of(deployments: Iterable[Deployment]) -> dict[int, Asked]:
    """What was asked, by the deployment's id. Rows need `endpoint__target` selected."""
    rows = {row.pk: row for row in deployments}
    revisions = {
        (pk, number): succeeded
        for pk, number, succeeded in DeploymentRevision.objects.filter(deployment__in=rows).values_list(
            "deployment_id", "number", "succeeded"
        )
    }
    newest = _newest_rollouts(rows)
    return {pk: _asked(row, revisions=revisions, rollout=newest.get(str(pk))) for pk, row in rows.items()}


def _newest_rollouts(rows: dict[int, Deployment]) -> dict[str, Operation]:
    about = Operation.objects.filter(kind="deploy", subject_kind="deployment", subject_id__in=[str(pk) for pk in rows])
    return {operation.subject_id: operation for operation in about.order_by("created_at")}


def _asked(row: Deployment, *, revisions: dict[tuple[int, int], bool | None], rollout: Operation | None) -> Asked:
    spec = row.spec
    return Asked(
        revision=row.applied_revision,
        newest=row.revision,
        proven=revisions.get((row.pk, row.applied_revision)) is True,
        automatic=spec.get("scale_settings", {}).get("type") != "default",
        script=spec.get("code_configuration", {}).get("scoring_script", ""),
        instance_type=spec.get("instance_type", ""),
        namespace=row.endpoint.target.namespace,
        failure=_failure(row, rollout),
        working=rollout is not None and rollout.state in UNFINISHED,
    )


def _failure(row: Deployment, rollout: Operation | None) -> StatusCause | None:
    if rollout is None or rollout.state != OperationState.FAILED or rollout.params.get("revision") != row.revision:
        return None
    fixes = tuple(WayOut(text=fix["text"], command=fix.get("command", "")) for fix in rollout.cause_fixes)
    return StatusCause(name=rollout.cause_name, text=rollout.cause_text, proof=rollout.cause_proof, fixes=fixes)

"""A cluster that does not answer: the rollout waits, says so once, and gives up when nothing was changed for long."""

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from clusters.kube.connection import Connection
from clusters.models import Cluster, ComputeTarget
from deployments.models import Artifact, Deployment, DeploymentRevision, Endpoint, Environment
from deployments.rollout.deploy import advance_deploy
from deployments.services.deployments import DEPLOY_STEPS
from studio.actor import SLIPWAY
from studio.models import Operation, Workspace
from studio.services.operations import Subject, start_operation
from studio.up.ports import pick_free

pytestmark = pytest.mark.django_db


@pytest.fixture
def op(workspace: Workspace) -> Operation:
    """A rollout to a cluster at a port where nobody listens."""
    nobody = Connection(server=f"https://127.0.0.1:{pick_free()}", token="t", insecure=True)
    cluster = Cluster.objects.create(
        workspace=workspace, name="quay", uid="u", server=nobody.server, connection=json.dumps(asdict(nobody))
    )
    target = ComputeTarget.objects.create(workspace=workspace, cluster=cluster, name="team", namespace="team")
    endpoint = Endpoint.objects.create(workspace=workspace, target=target, name="iris")
    environment = Environment.objects.create(workspace=workspace, name="bare", version=1, definition_hash="ab" * 32)
    code = Artifact.objects.create(digest="cd" * 32, size=1, file="x")
    spec: dict[str, Any] = {
        "name": "blue",
        "endpoint_name": "iris",
        "environment": "bare:1",
        "code_configuration": {"code": f"sha256:{code.digest}", "scoring_script": "score.py"},
    }
    deployment = Deployment.objects.create(
        endpoint=endpoint, name="blue", spec=spec, environment=environment, code=code
    )
    DeploymentRevision.objects.create(deployment=deployment, number=1, spec=spec)
    return start_operation(
        workspace,
        kind="deploy",
        title="Deploy blue to iris",
        subject=Subject("deployment", str(deployment.pk), "iris / blue"),
        task="deployments.tasks.deploy.advance",
        steps=DEPLOY_STEPS,
        actor=SLIPWAY,
        params={"deployment": deployment.pk, "revision": 1},
    )


def test_it_waits_and_says_so_once(op: Operation) -> None:
    now = timezone.now()
    for _ in range(3):
        advance_deploy(op, now=now)
    op.refresh_from_db()
    assert op.state == "waiting"
    assert op.summary.startswith("Waiting for the cluster.")
    assert op.deadline_at == now + timedelta(seconds=5)
    assert op.log.lines.filter(level="warn").count() == 1


def test_it_gives_up_when_nothing_was_changed_for_twenty_minutes(op: Operation) -> None:
    advance_deploy(op, now=timezone.now() + timedelta(minutes=21))
    op.refresh_from_db()
    assert (op.state, op.cause_name) == ("failed", "ClusterNotReachable")
    assert "Nothing in the cluster was changed" in op.summary
    assert DeploymentRevision.objects.get().succeeded is False
    assert op.cause_fixes

"""Rows of a cluster that nobody asks: services only write down and start."""

import io

import pytest

from clusters.models import Cluster, ClusterState, ComputeTarget, InstanceType, RouterState
from deployments.models import Endpoint
from deployments.services import create_endpoint, pack_code, register_environment, register_model
from deployments.specs import EndpointSpec
from studio.actor import Actor
from studio.models import Workspace


@pytest.fixture
def actor(bob: object) -> Actor:
    """Bob, a data scientist."""
    return Actor(user=bob, name="bob", address="192.0.2.7")  # type: ignore[arg-type]


@pytest.fixture
def target(workspace: Workspace) -> ComputeTarget:
    """A namespace of an embedded cluster with a router."""
    cluster = Cluster.objects.create(
        workspace=workspace,
        name="quay",
        uid="uid-1",
        server="https://127.0.0.1:1",
        connection="{}",
        runtime="process",
        state=ClusterState.CONNECTED,
        router_state=RouterState.READY,
    )
    InstanceType.objects.create(cluster=cluster, name="cpu-4")
    return ComputeTarget.objects.create(workspace=workspace, cluster=cluster, name="team", namespace="team")


@pytest.fixture
def endpoint(workspace: Workspace, target: ComputeTarget, actor: Actor) -> Endpoint:
    """The endpoint iris, without deployments."""
    return create_endpoint(workspace, spec=EndpointSpec(name="iris", compute="team"), target=target, actor=actor)


@pytest.fixture
def registered(workspace: Workspace, actor: Actor, settings: object, tmp_path: object) -> str:
    """A model iris:1, an environment bare:1 and code with a score.py; the code's digest."""
    settings.MEDIA_ROOT = tmp_path  # type: ignore[attr-defined]
    register_model(workspace, name="iris", files=[("model.pkl", io.BytesIO(b"weights"))], actor=actor)
    register_environment(workspace, name="bare", actor=actor)
    return pack_code(workspace, files=[("score.py", io.BytesIO(b"def init(): pass"))], actor=actor).digest

"""What is in force everywhere is the lowest of all routers; a router that knows nothing counts as nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest

from clusters.models import Cluster, ComputeTarget
from deployments.models import Deployment, Endpoint, Environment, MetricSample, ScaleDecision
from deployments.sampler import ClusterReader, lowest
from studio.models import Workspace


def entry(generation: int, revision: int) -> dict[str, Any]:
    return {"team/iris": {"generation": generation, "keyRevision": revision}}


def test_the_slowest_router_decides() -> None:
    found = lowest([entry(7, 3), entry(6, 4)], key="team/iris")
    assert found == {"pods": 2, "generation": 6, "key_revision": 3, "absent": False}


def test_a_router_that_does_not_know_the_endpoint_has_nothing_in_force() -> None:
    assert lowest([entry(7, 3), {}], key="team/iris")["generation"] == 0
    assert lowest([{}, {}], key="team/iris")["absent"] is True
    assert lowest([], key="team/iris")["pods"] == 0


AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC).timestamp()


def sample(**more: Any) -> dict[str, Any]:
    return {
        "seq": 1,
        "at": AT,
        "namespace": "team",
        "endpoint": "iris",
        "deployment": "blue",
        "seconds": 1.0,
        "requests": {"2xx": 9, "4xx": 1, "429": 2, "5xx": 0},
        "latency_ms": None,
        "in_flight": 0.5,
        "queued": 1.0,
        "held": 2.0,
        "concurrency": 1,
        "replicas_ready": 1,
        "replicas_wanted": None,
    } | more


def decision(**more: Any) -> dict[str, Any]:
    return {
        "id": 4,
        "seq": 4,
        "at": AT,
        "namespace": "team",
        "endpoint": "iris",
        "deployment": "blue",
        "from": 1,
        "to": 3,
        "reason": "load 152 % over 70 %",
        "figures": {"in_flight": 2.0},
        "ready_at": None,
    } | more


@pytest.fixture
def reader(workspace: Workspace) -> ClusterReader:
    """A reader of a cluster where iris / blue runs."""
    cluster = Cluster.objects.create(workspace=workspace, name="quay", uid="u", server="https://x", connection="{}")
    target = ComputeTarget.objects.create(workspace=workspace, cluster=cluster, name="team", namespace="team")
    endpoint = Endpoint.objects.create(workspace=workspace, target=target, name="iris")
    environment = Environment.objects.create(workspace=workspace, name="bare", version=1)
    Deployment.objects.create(endpoint=endpoint, name="blue", spec={}, environment=environment)
    return ClusterReader(cluster.pk)


def test_samples_are_kept_for_deployments_that_are_known(reader: ClusterReader) -> None:
    reader._store("routerd-1/uid@0", samples=[sample(), sample(deployment="gone")], decisions=[])
    row = MetricSample.objects.get()
    assert (row.ok, row.refused, row.turned_away, row.failed) == (9, 1, 2, 0)
    assert (row.p50_ms, row.queued, row.replicas_wanted) == (None, 3.0, 1)


def test_a_count_no_router_should_report_keeps_no_sample_from_being_stored(reader: ClusterReader) -> None:
    told = {"2xx": -1, "4xx": 0, "429": 0, "5xx": 3}
    reader._store("routerd-1/uid@0", samples=[sample(requests=told), sample(seq=2)], decisions=[])
    assert list(MetricSample.objects.order_by("pk").values_list("ok", "failed")) == [(0, 3), (9, 0)]


def test_a_decision_told_again_once_its_replicas_are_ready_is_the_same_decision(reader: ClusterReader) -> None:
    reader._store("routerd-1/uid@0", samples=[], decisions=[decision()])
    reader._store("routerd-1/uid@0", samples=[], decisions=[decision(seq=9, ready_at=AT + 8)])
    row = ScaleDecision.objects.get()
    assert (row.before, row.after) == (1, 3)
    assert row.ready_at is not None
    assert (row.ready_at - row.at).total_seconds() == 8

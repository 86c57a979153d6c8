"""The last use of a key is what the routers report, of that very key."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from clusters.kube.kinds import ONLINE_ENDPOINTS
from deployments.models import Endpoint
from deployments.services.keys import rotate_key
from deployments.watch.recorder import Recorder
from deployments.watch.view import TargetView
from routerd import contract
from studio.actor import SLIPWAY
from studio.models import Workspace
from tests.deployments import world

USED = datetime(2026, 11, 21, 9, 14, tzinfo=UTC)


@pytest.fixture
def endpoint(workspace: Workspace) -> Endpoint:
    return world.make_address_match(workspace, now=timezone.now())


def record(endpoint: Endpoint, *keys: dict[str, Any]) -> None:
    view = TargetView()
    labels = {contract.ENDPOINT: endpoint.name}
    view.replace(ONLINE_ENDPOINTS, [{"metadata": {"uid": "1", "labels": labels}, "status": {"keys": list(keys)}}])
    recorder = Recorder(view_of=lambda _: view, follower=None, stop=threading.Event())  # type: ignore[arg-type]
    recorder.record({(endpoint.target_id, endpoint.name, "")}, now=timezone.now())


def reported(endpoint: Endpoint, *, at: datetime) -> dict[str, Any]:
    key = endpoint.keys.get(name="primary")
    return {"name": "primary", "fingerprint": key.sha256[:8], "lastUsed": at.strftime("%Y-%m-%dT%H:%M:00Z")}


def test_a_reported_use_is_kept_and_never_goes_back(endpoint: Endpoint) -> None:
    endpoint.keys.update(last_used_at=None)
    record(endpoint, reported(endpoint, at=USED))
    record(endpoint, reported(endpoint, at=USED - timedelta(minutes=5)))
    assert endpoint.keys.get(name="primary").last_used_at == USED
    assert endpoint.keys.get(name="secondary").last_used_at is None


def test_a_key_without_a_reported_use_stays_unused(endpoint: Endpoint) -> None:
    endpoint.keys.update(last_used_at=None)
    record(endpoint, reported(endpoint, at=USED) | {"lastUsed": ""})
    assert endpoint.keys.get(name="primary").last_used_at is None


def test_the_use_of_a_key_that_was_rotated_is_not_its_successors(endpoint: Endpoint) -> None:
    before = reported(endpoint, at=USED)
    rotate_key(endpoint, name="primary", actor=SLIPWAY)
    record(endpoint, before)
    assert endpoint.keys.get(name="primary").last_used_at is None

"""A first run that is killed on its way goes on at the next start, and ends as if nothing had happened."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.whole import Slipway, ask


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Slipway]:
    """A home nothing has run in, on a machine whose kernel gives containers no namespaces.

    (On one that does, the runs of all other flows begin.)
    """
    one = Slipway(tmp_path / "home", SLIPWAY_ISOLATION="none")
    yield one
    one.stop()
    assert one.processes() == {}


def test_a_first_run_killed_twice_ends_with_one_answering_sample_also_without_namespaces(fresh: Slipway) -> None:
    for step in ("Installing the router", "Building the environment"):
        fresh.start()
        fresh.wait_for_step(step, seconds=120)
        fresh.stop(how=signal.SIGKILL)
    fresh.start()
    told = fresh.wait_for("answering", seconds=240)
    assert told["status"] == 200
    assert ask(told["scoring_uri"], told["key"], body=told["request"]).status_code == 200
    with fresh.sign_in() as client:
        assert [each["name"] for each in client.api("GET", "endpoints")["endpoints"]] == ["iris"]
        assert client.api("GET", "endpoints/iris/deployments/blue")["revision"] == 1
    assert fresh.kubectl("-n", "models", "get", "deployments", "-o", "name").split() == ["deployment.apps/iris--blue"]
    assert "none" in fresh.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.annotations}")

"""What goes on when something is killed: callers are answered, Operations go to their end, nothing runs twice."""

import os
import signal
import time

import pytest

from tests.callers import Callers
from tests.studio_client import StudioClient
from tests.whole import MODELS, SETTINGS, Slipway, ask


@pytest.fixture(scope="module")
def steady(slipway: Slipway, light: None) -> str:
    """The endpoint `steady`, whose model takes 200 ms; its key."""
    with slipway.sign_in() as client:
        key = client.make_endpoint("steady")
        told = client.wait(client.deploy("steady", SETTINGS | {"name": "blue"}, code=MODELS / "slow"))
    assert told["state"] == "succeeded", told
    return key


def test_routerds_control_process_killed_costs_no_request_and_comes_back(slipway: Slipway, steady: str) -> None:
    before = slipway.routerd_control()
    with Callers(slipway.uri("steady"), key=steady, together=2) as callers:
        callers.wait_for_answer()
        os.kill(before, signal.SIGKILL)
        callers.wait_for_answer()
        after = wait_for_control(slipway, other_than=before)
        callers.wait_for_answer()
    assert after != before
    assert callers.answers.lost == {}, callers.answers.first_failure


def wait_for_control(slipway: Slipway, *, other_than: int) -> int:
    end = time.monotonic() + 15
    while time.monotonic() < end:
        routerds = {pid for pid, command in slipway.processes().items() if command.endswith("-m routerd")}
        if other_than not in routerds and len(routerds) == 2:
            return slipway.routerd_control()
    raise AssertionError(f"routerd's control process did not come back: {slipway.processes()}")


def test_a_model_scales_out_while_the_studio_is_dead_and_the_next_studio_adopts_all(
    slipway: Slipway, steady: str
) -> None:
    slipway.stop(how=signal.SIGKILL)
    workload = ("-n", "models", "get", "deployment", "steady--blue", "-o", "jsonpath={.status.readyReplicas}")
    with Callers(slipway.uri("steady"), key=steady, together=6) as callers:
        end = time.monotonic() + 60
        while slipway.kubectl(*workload) != "3":
            assert time.monotonic() < end, callers.answers
            callers.wait_for_answer()
    assert callers.answers.lost == {}, callers.answers.first_failure
    pods = set(slipway.kubectl("-n", "models", "get", "pods", "-o", "name").split())
    slipway.start()
    slipway.wait_for("answering", seconds=60)
    assert set(slipway.kubectl("-n", "models", "get", "pods", "-o", "name").split()) <= pods
    clusters = [command for command in slipway.processes().values() if "-m clusters.embedded --data" in command]
    assert len(clusters) == 1, clusters


def test_studio_and_cluster_killed_at_once_come_back_with_the_same_replicas_and_no_second_copy(
    slipway: Slipway, steady: str
) -> None:
    before = slipway.kubectl("-n", "models", "get", "pods", "-l", "slipway.dev/endpoint=iris", "-o", "name")
    clusters = [pid for pid, command in slipway.processes().items() if "-m clusters.embedded --data" in command]
    slipway.stop(how=signal.SIGKILL)
    os.kill(clusters[0], signal.SIGKILL)
    slipway.start()
    slipway.wait_for("answering", seconds=60)
    assert slipway.kubectl("-n", "models", "get", "pods", "-l", "slipway.dev/endpoint=iris", "-o", "name") == before
    wait_until_answered(slipway, key=steady)
    assert len([pid for pid, command in slipway.processes().items() if "-m clusters.embedded --data" in command]) == 1


def test_a_studio_killed_during_a_rollout_takes_the_operation_to_its_end_after_the_restart(
    slipway: Slipway, steady: str
) -> None:
    with slipway.sign_in() as client:
        operation = client.deploy("steady", SETTINGS | {"name": "blue"}, code=MODELS / "slow", edit="blue")
        slipway.stop(how=signal.SIGKILL)
    slipway.start()
    slipway.wait_for("ready", seconds=60)
    with slipway.sign_in() as client:
        told = client.wait(operation)
        deployment = client.api("GET", "endpoints/steady/deployments/blue")
    assert told["state"] == "succeeded", told
    assert deployment["revision"] == 2
    assert ask(slipway.uri("steady"), steady).status_code == 200


def test_an_orderly_stop_leaves_no_process_and_the_next_start_finds_everything_as_it_was(
    slipway: Slipway, steady: str
) -> None:
    slipway.stop()
    assert slipway.processes() == {}
    slipway.start()
    slipway.wait_for("answering", seconds=60)
    with slipway.sign_in() as client:
        wait_until_answered(slipway, key=steady)
        page = client.page("endpoints/")
    assert "iris" in page
    assert "steady" in page


def wait_until_answered(slipway: Slipway, *, key: str) -> None:
    end = time.monotonic() + 90
    while (answer := ask(slipway.uri("steady"), key)).status_code != 200:
        assert time.monotonic() < end, answer.text


def test_two_people_deploying_the_same_deployment_at_once_do_not_cross(
    slipway: Slipway, studio: StudioClient, steady: str
) -> None:
    first = studio.deploy("steady", SETTINGS | {"name": "blue"}, code=MODELS / "slow", edit="blue")
    with pytest.raises(AssertionError, match=r"409|under way"), slipway.sign_in() as other:
        other.deploy("steady", SETTINGS | {"name": "blue"}, code=MODELS / "slow", edit="blue")
    assert studio.wait(first)["state"] == "succeeded"

"""The main job, from a registered environment to nothing left, as a person and their callers see it."""

import re
import time

import pytest

from tests.callers import Callers
from tests.studio_client import StudioClient
from tests.whole import MODELS, SETTINGS, Slipway, ask

DECISION = re.compile(r"<b>(\d) to (\d)</b>")  # on the Metrics tab, the newest first


@pytest.fixture(scope="module")
def slow(slipway: Slipway, light: None) -> str:
    """The endpoint `slow`, whose model takes 200 ms; its key."""
    with slipway.sign_in() as client:
        key = client.make_endpoint("slow")
        told = client.wait(client.deploy("slow", SETTINGS | {"name": "blue"}, code=MODELS / "slow"))
    assert told["state"] == "succeeded", told
    return key


def test_the_deployed_model_answers_and_strangers_do_not_get_in(slipway: Slipway, slow: str) -> None:
    answer = ask(slipway.uri("slow"), slow)
    assert (answer.status_code, answer.json()["length"]) == (200, 2)
    refused = ask(slipway.uri("slow"), "wrong-key")
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    assert ask(slipway.uri("nobody"), slow).status_code == 404


def test_a_rotated_key_stops_within_a_second_and_the_other_works_on(
    slipway: Slipway, studio: StudioClient, slow: str
) -> None:
    secondary = studio.show_key("slow", "secondary")
    assert ask(slipway.uri("slow"), secondary).status_code == 200
    told = studio.api("POST", "endpoints/slow/keys/secondary/rotate")
    rotated = time.monotonic()
    while ask(slipway.uri("slow"), secondary).status_code != 401:
        assert time.monotonic() - rotated < 1.0
    assert ask(slipway.uri("slow"), told["key"]["value"]).status_code == 200
    assert ask(slipway.uri("slow"), slow).status_code == 200
    assert studio.wait(told["operation"]["id"], seconds=10)["state"] == "succeeded"


def test_the_last_use_of_a_key_is_told_to_the_minute(slipway: Slipway, studio: StudioClient, slow: str) -> None:
    assert ask(slipway.uri("slow"), slow).status_code == 200
    used = re.compile(r'data-label="Last used">\s*(?!–)')
    studio.wait_page("endpoints/slow/consume/", until=lambda page: bool(used.search(page)), seconds=60)


def test_load_scales_out_to_three_and_back_to_one_and_loses_no_request(
    slipway: Slipway, studio: StudioClient, slow: str
) -> None:
    with Callers(slipway.uri("slow"), key=slow, together=6) as callers:
        _, wanted = studio.wait_deployment("slow", "blue", until=lambda told: told["replicas_wanted"] == 3, seconds=10)
        assert wanted < 3.0
        studio.wait_deployment("slow", "blue", until=lambda told: told["replicas_ready"] == 3, seconds=60)
        callers.wait_for_answer()
    assert callers.answers.lost == {}, callers.answers.first_failure
    assert len({body.split(",")[0] for body in callers.answers.bodies}) == 3  # each replica answered
    studio.wait_deployment("slow", "blue", until=lambda told: told["replicas_ready"] == 1, seconds=60)
    page = studio.wait_page("endpoints/slow/metrics/", until=lambda page: DECISION.findall(page)[0][1] == "1")
    assert "3" in {after for _, after in DECISION.findall(page)}


def test_a_new_revision_rolls_out_without_losing_a_request(slipway: Slipway, studio: StudioClient, light: None) -> None:
    key = studio.make_endpoint("rolling")
    one = {"name": "blue", "scale_settings.type": "default", "instance_count": "1"}
    first = SETTINGS | one | {"environment_variables": "MODEL_VERSION=1"}
    assert studio.wait(studio.deploy("rolling", first, code=MODELS / "version"))["state"] == "succeeded"
    with Callers(slipway.uri("rolling"), key=key, together=4) as callers:
        callers.wait_for_answer()
        second = first | {"environment_variables": "MODEL_VERSION=2"}
        assert (
            studio.wait(studio.deploy("rolling", second, code=MODELS / "version", edit="blue"))["state"] == "succeeded"
        )
        studio.wait_deployment("rolling", "blue", until=lambda told: len(told["replicas"]) == 1, seconds=60)
        callers.wait_for_answer()
    assert callers.answers.lost == {}, callers.answers.first_failure
    assert {"1", "2"} == {body.split('"')[3] for body in callers.answers.bodies}


def test_a_script_that_raises_in_init_fails_by_name_while_the_old_revision_answers(
    slipway: Slipway, studio: StudioClient, slow: str
) -> None:
    with Callers(slipway.uri("slow"), key=slow, together=1) as callers:
        told = studio.wait(studio.deploy("slow", SETTINGS | {"name": "blue"}, code=MODELS / "broken", edit="blue"))
        callers.wait_for_answer()
    assert told["state"] == "failed"
    assert told["cause"]["name"] == "UserScriptInitFailed"
    assert told["cause"]["proof"].splitlines()[-1] == "ValueError: the weights are of another shape: 3 x 4, not 4 x 3"
    assert "What to do" in studio.page(f"operations/{told['id']}/")
    assert callers.answers.lost == {}, callers.answers.first_failure


def test_deleting_an_endpoint_leaves_nothing_in_the_cluster(slipway: Slipway, studio: StudioClient, slow: str) -> None:
    told = studio.wait(studio.form("endpoints/slow/delete", {"confirm": "slow"}))
    assert told["state"] == "succeeded"
    assert ask(slipway.uri("slow"), slow).status_code == 404
    kinds = "onlineendpoints,deployments,replicasets,pods,services,endpointslices,secrets,configmaps,networkpolicies"
    assert slipway.kubectl("-n", "models", "get", kinds, "-o", "name", "-l", "slipway.dev/endpoint=slow") == ""
    assert "slow" not in studio.page("endpoints/")

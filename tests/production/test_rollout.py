"""A model is deployed while each part of the studio is a process of its own; one of them dies on the way."""

import re
from collections.abc import Iterator

import httpx
import pytest

from clusters.kube.client import Kube
from tests.callers import Callers
from tests.clusters.conftest import RunningCluster
from tests.ports import free_port
from tests.production.conftest import Production
from tests.routerd.test_tls import Authority, secret
from tests.studio_client import StudioClient, words
from tests.whole import MODELS, SETTINGS, ask

pytestmark = pytest.mark.slow
ONE = SETTINGS | {"name": "blue", "scale_settings.type": "default", "instance_count": "1"}
ROUTER = {"service_type": "LoadBalancer", "replicas": "1", "artifacts_gib": "1", "log_sample": "1"}
AMOUNTS = {"cpu": "500m", "memory": "512Mi"}
VERSIONED = {number: ONE | {"environment_variables": f"MODEL_VERSION={number}"} for number in (1, 2, 3)}


@pytest.fixture(scope="module")
def erin(production: Production) -> Iterator[StudioClient]:
    with StudioClient(production.address, user="erin", password=production.password) as signed_in:
        yield signed_in


@pytest.fixture(scope="module")
def uri(erin: StudioClient, running_cluster: RunningCluster) -> str:
    """Of the endpoint `steady`, which has no deployment yet, on a cluster with all that it takes."""
    port = free_port()
    erin.form("clusters/attach", {"name": "quay", "kubeconfig": running_cluster.kubeconfig})
    erin.wait_page("clusters/quay/", until=lambda page: "Connected, without a router." in words(page), seconds=60)
    installed = erin.wait(erin.form("clusters/quay/router", ROUTER | {"port": str(port)}), seconds=90)
    assert installed["state"] == "succeeded", installed
    place = {"name": "local", "cluster": "quay", "namespace": "team", "create_namespace": "on"}
    erin.form("compute-targets/new", place)
    amounts = {f"{part}.{what}": text for part in ("requests", "limits") for what, text in AMOUNTS.items()}
    erin.form("instance-types/new", {"name": "small", "cluster": "quay", **amounts})
    erin.form("environments/new", {"name": "light", "requirements": "azureml-inference-server-http==1.5.1\n"})
    erin.make_endpoint("steady")
    return f"http://127.0.0.1:{port}/api/v1/endpoint/steady/score"


def test_a_model_is_deployed_and_answers_and_the_pages_tell_of_it(erin: StudioClient, uri: str) -> None:
    told = erin.wait(erin.deploy("steady", VERSIONED[1], code=MODELS / "version"), seconds=180)
    assert told["state"] == "succeeded", told
    answer = ask(uri, erin.show_key("steady"))
    assert (answer.status_code, '"1"' in answer.text) == (200, True)
    used = re.compile(r'data-label="Last used">\s*(?!–)')
    erin.wait_page("endpoints/steady/consume/", until=lambda page: bool(used.search(page)), seconds=60)
    stream = re.search(r"logs/(\d+)", erin.page("endpoints/steady/logs/"))
    assert stream
    erin.wait_page(f"logs/{stream[1]}.txt", until=lambda text: "POST /score 200" in text, seconds=30)


@pytest.mark.parametrize(("dies", "revision"), [("worker", 2), ("watch", 3)])
def test_who_is_killed_during_a_rollout_is_replaced_and_no_request_is_lost(
    production: Production, erin: StudioClient, uri: str, dies: str, revision: int
) -> None:
    with Callers(uri, key=erin.show_key("steady"), together=2) as callers:
        callers.wait_for_answer()
        operation = erin.deploy("steady", VERSIONED[revision], code=MODELS / "version", edit="blue")
        erin.wait_page(f"operations/{operation}/", until=lambda page: "Rolling out" in page, seconds=60)
        production.processes.kill(dies)
        production.processes.start(dies, production.commands[dies])
        assert erin.wait(operation, seconds=120)["state"] == "succeeded"
        callers.wait_for_answer()
    assert callers.answers.lost == {}, callers.answers.first_failure
    assert f'"{revision}"' in ask(uri, erin.show_key("steady")).text


def test_the_router_is_changed_to_tls_by_its_form_and_tells_its_new_address(
    erin: StudioClient, running_cluster: RunningCluster, uri: str
) -> None:
    authority = Authority()
    kube = Kube(running_cluster.connection)
    made = secret("slipway-tls", *authority.issue("score.example.org"))
    kube.create({"apiVersion": "v1", **made, "metadata": {"name": "slipway-tls", "namespace": "slipway-system"}})
    kube.close()
    port = uri.split(":")[2].split("/", maxsplit=1)[0]
    change = ROUTER | {"port": port, "tls_secrets": "slipway-tls", "plain_http": "refuse"}
    told = erin.wait(erin.form("clusters/quay/router", change), seconds=90)
    assert told["state"] == "succeeded", told
    assert "Callers reach it at https://127.0.0.1." in words(erin.page("clusters/quay/"))
    key = {"Authorization": f"Bearer {erin.show_key('steady')}", "Host": "score.example.org"}
    path = "https://127.0.0.1/api/v1/endpoint/steady/score"
    with httpx.Client(verify=authority.trusting()) as caller:
        answer = caller.post(path, headers=key, json={}, extensions={"sni_hostname": "score.example.org"})
    assert answer.status_code == 200
    refused = httpx.post(uri, headers=key, json={})
    assert (refused.status_code, refused.json()["code"]) == (403, "tls_required")
    assert erin.wait(erin.form("clusters/quay/router", ROUTER | {"port": port}), seconds=90)["state"] == "succeeded"


def test_deleting_the_endpoint_leaves_nothing_of_it(erin: StudioClient, uri: str) -> None:
    key = erin.show_key("steady")
    assert erin.wait(erin.form("endpoints/steady/delete", {"confirm": "steady"}))["state"] == "succeeded"
    assert ask(uri, key).status_code == 404

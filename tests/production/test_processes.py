"""The studio as it runs in production: what one process does, another one's pages hear of."""

import re

import httpx
import pytest

from tests.clusters.conftest import RunningCluster
from tests.ports import free_port
from tests.production.conftest import PROXY, Production, manage, wait_for_port
from tests.studio_client import StudioClient, words

pytestmark = pytest.mark.slow


def test_a_cluster_is_attached_by_the_worker_while_the_page_listens(
    production: Production, running_cluster: RunningCluster
) -> None:
    with StudioClient(production.address, user="erin", password=production.password) as erin:
        led_to = erin.submit("/w/main/clusters/attach", {"name": "quay", "kubeconfig": running_cluster.kubeconfig})
        assert led_to == "/w/main/clusters/quay/"
        operation = re.search(r"operations/([0-9a-f-]{36})/", erin.page("operations/"))
        assert operation
        told = erin.wait(operation[1], seconds=60)
        assert told["state"] == "succeeded", told
        assert "Connected, without a router." in words(erin.page("clusters/quay/"))


def test_the_beat_looks_at_clusters_by_itself(production: Production, running_cluster: RunningCluster) -> None:
    with StudioClient(production.address, user="erin", password=production.password) as erin:
        before = re.search(r'title="([^"]+ UTC)"', erin.page("clusters/quay/"))
        assert before
        erin.wait_page("clusters/quay/", until=lambda html: before[1] not in html, seconds=60)


def test_an_operation_whose_worker_died_is_ended_by_the_next_one(
    production: Production, running_cluster: RunningCluster
) -> None:
    with StudioClient(production.address, user="erin", password=production.password) as erin:
        production.processes.end("worker")
        erin.submit("/w/main/clusters/quay/check", {})
        operation = re.search(r"operations/([0-9a-f-]{36})/", erin.page("operations/?show=running"))
        assert operation
        production.processes.start("worker", production.commands["worker"])
        assert erin.wait(operation[1], seconds=60)["state"] == "succeeded"


def test_environments_models_and_endpoints_live_in_postgresql(production: Production) -> None:
    with StudioClient(production.address, user="erin", password=production.password) as erin:
        erin.submit("/w/main/environments/new", {"name": "bare", "kind": "requirements", "requirements": "numpy"})
        assert "bare:1" in erin.page("environments/")
        for path in ("endpoints/", "models/", "operations/", "clusters/", "compute-targets/", "people/", "audit/"):
            erin.page(path)


def test_behind_a_proxy_cookies_are_secure_and_the_audit_has_the_persons_address(production: Production) -> None:
    port = free_port()
    environment = production.processes.environment
    public = environment | {"SLIPWAY_PORT": str(port), "SLIPWAY_PUBLIC_URL": "https://slipway.example.org"}
    production.processes.environment = public
    wait_for_port(port, production.processes.start("behind", production.commands["web"]))
    production.processes.environment = environment
    headers = PROXY | {"Host": "slipway.example.org", "Referer": "https://slipway.example.org/sign-in"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as browser:
        token = _cookies(browser.get("/sign-in"))["csrftoken"]
        sent = {"username": "erin", "password": production.password, "csrfmiddlewaretoken": token}
        answer = browser.post("/sign-in", data=sent, headers={"Cookie": f"csrftoken={token}"})
        assert answer.status_code == 302
        kept = answer.headers.get_list("set-cookie")
        assert len(kept) == 2
        assert all("; Secure" in cookie for cookie in kept)
        cookies = "; ".join(f"{name}={value}" for name, value in _cookies(answer).items())
        token = _cookies(answer)["csrftoken"]
        sent = {"name": "proxied", "kind": "requirements", "csrfmiddlewaretoken": token}
        path = "/w/main/environments/new"
        assert browser.post(path, data=sent, headers={"Cookie": cookies}).status_code == 302
        assert "from 203.0.113.9" in words(browser.get("/w/main/audit/", headers={"Cookie": cookies}).text)
    assert production.processes.end("behind") == 0


def test_every_process_ends_in_order_and_none_has_complained(production: Production) -> None:
    manage(production.processes, "check", "--deploy", "--fail-level", "ERROR")
    for name in ("web", "watch", "beat", "worker"):
        assert production.processes.end(name) == 0, production.processes.log(name)[-3000:]
        assert "Traceback" not in production.processes.log(name), production.processes.log(name)[-6000:]


def _cookies(answer: httpx.Response) -> dict[str, str]:
    pairs = [each.split(";", 1)[0].partition("=") for each in answer.headers.get_list("set-cookie")]
    return {name: value for name, _, value in pairs}

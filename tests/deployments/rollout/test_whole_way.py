"""Rollouts from the form's spec to an answered call, on a real cluster with a real router."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.utils import timezone

from clusters.connections import kube_for
from clusters.kube.kinds import DEPLOYMENTS, ONLINE_ENDPOINTS, PODS
from deployments.models import Deployment, DeploymentRevision, Endpoint, MetricSample, ScaleDecision
from deployments.rollout.remove import what_is_left
from deployments.services import delete_endpoint, register_environment, rotate_key, set_traffic
from routerd import contract
from studio.actor import SLIPWAY
from studio.models import LogStream
from studio.services.operations import request_cancel, wake
from tests.deployments.rollout.conftest import GOOD, RunningWatcher, Studio, told, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NO_FILE = b"""
def init():
    open("/nowhere/vocab.json")

def run(raw):
    return raw
"""
NO_MODULE = b"import nopandas\n\ndef init():\n    pass\n\ndef run(raw):\n    return raw\n"
SLOW = b"import time\n\ndef init():\n    time.sleep(600)\n\ndef run(raw):\n    return raw\n"
COUNTING = b"""
import time

def init():
    for number in range(8):
        print("counted", number, flush=True)
        time.sleep(0.5)

def run(raw):
    return raw
"""
TAKES_TIME = b"import time\n\ndef init():\n    pass\n\ndef run(raw):\n    time.sleep(0.25)\n    return raw\n"
SECOND = GOOD.replace(b'greeting + " "', b'greeting + " again "')


def address(studio: Studio, endpoint: Endpoint) -> str:
    return f"http://127.0.0.1:{studio.port}/api/v1/endpoint/{endpoint.name}/score"


def bearer(endpoint: Endpoint, name: str = "primary") -> dict[str, str]:
    return {"Authorization": f"Bearer {endpoint.keys.get(name=name).value}"}


def call(studio: Studio, endpoint: Endpoint) -> httpx.Response:
    """What a caller gets, with the primary key."""
    return httpx.post(address(studio, endpoint), json="you", headers=bearer(endpoint), timeout=10)


@pytest.fixture
def greet(studio: Studio) -> Endpoint:
    """An endpoint whose first deployment, blue, answers."""
    endpoint = studio.endpoint("greet")
    _, operation = studio.deploy(endpoint)
    studio.finished(operation)
    assert operation.state == "succeeded", told(operation)
    endpoint.refresh_from_db()
    return endpoint


def test_the_first_deployment_of_an_endpoint_answers_all_calls(studio: Studio, greet: Endpoint) -> None:
    assert greet.traffic == {"blue": 100}
    answer = call(studio, greet)
    assert (answer.status_code, answer.json()) == (200, 'hello "you"')
    deployment = Deployment.objects.get(endpoint=greet)
    wait_until(lambda: Deployment.objects.get(pk=deployment.pk).state == "healthy", what="healthy")
    streams = LogStream.objects.filter(subject_kind="deployment", subject_id=str(deployment.pk), operation=None)
    lines = [line.text for stream in streams for line in stream.lines.all()]
    assert sum("init() has read the model" in line for line in lines) == 1


def test_an_init_that_fails_is_named_and_the_old_revision_goes_on(studio: Studio, greet: Endpoint) -> None:
    deployment, operation = studio.deploy(greet, script=NO_FILE)
    studio.finished(operation)
    assert (operation.state, operation.cause_name) == ("failed", "UserScriptInitFailed"), told(operation)
    assert operation.cause_proof.startswith("FileNotFoundError")
    assert "/nowhere/vocab.json" in operation.cause_proof
    assert "revision 1 of blue answers" in operation.summary
    assert any("FileNotFoundError" in line.text for line in operation.log.lines.all())
    assert any(line.source == "event" for line in operation.log.lines.all()), told(operation)
    assert call(studio, greet).json() == 'hello "you"'
    assert list(DeploymentRevision.objects.order_by("number").values_list("succeeded", flat=True)) == [True, False]
    wait_until(lambda: Deployment.objects.get(pk=deployment.pk).state == "healthy", what="healthy again")
    assert "Revision 2 failed (UserScriptInitFailed)" in Deployment.objects.get().observed["sentence"]


def test_a_first_deployment_that_fails_leaves_nothing_behind(studio: Studio) -> None:
    endpoint = studio.endpoint("greet")
    deployment, operation = studio.deploy(endpoint, script=NO_MODULE)
    studio.finished(operation)
    assert (operation.state, operation.cause_name) == ("failed", "UserScriptImportError"), told(operation)
    assert operation.cause_proof == "ModuleNotFoundError: No module named 'nopandas'"
    endpoint.refresh_from_db()
    assert endpoint.traffic == {}
    kube, namespace = kube_for(studio.target.cluster), studio.target.namespace
    wait_until(lambda: not what_is_left(kube, namespace=namespace, endpoint="greet"), what="nothing left")
    wait_until(lambda: Deployment.objects.get(pk=deployment.pk).state == "failed", what="failed")


def test_a_new_revision_replaces_the_old_one_without_losing_a_call(studio: Studio, greet: Endpoint) -> None:
    answers: Counter[tuple[int, str]] = Counter()
    stop = threading.Event()

    def keep_calling() -> None:
        with httpx.Client(headers=bearer(greet), timeout=10) as client:
            while not stop.is_set():
                answer = client.post(address(studio, greet), json="you")
                answers[answer.status_code, answer.text] += 1

    caller = threading.Thread(target=keep_calling)
    caller.start()
    _, operation = studio.deploy(greet, script=SECOND)
    studio.finished(operation)
    wait_until(lambda: any("again" in text for _, text in answers), what="the new revision's answer")
    stop.set()
    caller.join()
    assert operation.state == "succeeded", told(operation)
    assert {status for status, _ in answers} == {200}, answers
    kube = kube_for(studio.target.cluster)
    assert kube.get(DEPLOYMENTS, "greet--blue", studio.target.namespace)["spec"]["replicas"] == 1


def test_a_rotated_key_is_refused_on_every_router_when_the_operation_ends(studio: Studio, greet: Endpoint) -> None:
    old = bearer(greet)
    _, operation = rotate_key(greet, name="primary", actor=SLIPWAY)
    studio.finished(operation)
    assert operation.state == "succeeded", told(operation)
    assert httpx.post(address(studio, greet), json="you", headers=old).status_code == 401
    assert httpx.post(address(studio, greet), json="you", headers=bearer(greet)).status_code == 200
    assert httpx.post(address(studio, greet), json="you", headers=bearer(greet, "secondary")).status_code == 200


def test_traffic_of_a_second_deployment_moves_when_it_is_moved(studio: Studio, greet: Endpoint) -> None:
    _, operation = studio.deploy(greet, name="green", script=SECOND)
    studio.finished(operation)
    assert operation.state == "succeeded", told(operation)
    assert call(studio, greet).json() == 'hello "you"'
    moved = set_traffic(greet, traffic={"green": 100}, mirror={}, actor=SLIPWAY)
    studio.finished(moved)
    assert moved.state == "succeeded", told(moved)
    assert call(studio, greet).json() == 'hello again "you"'


def test_a_rollout_goes_on_where_it_was_when_the_watcher_was_away(
    studio: Studio, greet: Endpoint, watcher: RunningWatcher
) -> None:
    deployment, operation = studio.deploy(greet, script=COUNTING)
    wait_until(lambda: operation.log.lines.filter(text__contains="counted 2").exists(), what="two lines")
    watcher.end()
    watcher.start()
    studio.finished(operation)
    assert operation.state == "succeeded", told(operation)
    stream = LogStream.objects.filter(subject_id=str(deployment.pk), label__contains="server").latest("created_at")
    wait_until(lambda: stream.lines.filter(text__contains="counted 7").exists(), what="the last line")
    counted = [line.text.split("counted ")[1] for line in stream.lines.filter(text__contains="counted ")]
    assert counted == [str(number) for number in range(8)]


def test_load_adds_replicas_which_stay_when_a_new_revision_comes(studio: Studio) -> None:
    endpoint = studio.endpoint("slow")
    scale = {"min_instances": 1, "max_instances": 2, "scale_down_delay_seconds": 600}
    requests = {"max_queue_wait_ms": 5000}
    more = {"scale_settings": scale, "request_settings": requests}
    deployment, operation = studio.deploy(endpoint, script=TAKES_TIME, **more)
    studio.finished(operation)
    with ThreadPoolExecutor(6) as callers:
        statuses = set(callers.map(lambda _: call(studio, endpoint).status_code, range(24)))
    assert statuses == {200}
    grown = ScaleDecision.objects.filter(deployment=deployment, before=1, after=2)
    assert wait_until(grown.first, what="the decision").reason
    assert wait_until(lambda: MetricSample.objects.filter(deployment=deployment, ok__gt=0).exists(), what="samples")
    wait_until(lambda: Deployment.objects.get(pk=deployment.pk).observed["ready"] == 2, what="two ready")
    _, again = studio.deploy(endpoint, script=TAKES_TIME + b"# changed", **more)
    studio.finished(again)
    assert again.state == "succeeded", told(again)
    workload = kube_for(studio.target.cluster).get(DEPLOYMENTS, "slow--blue", studio.target.namespace)
    assert workload["spec"]["replicas"] == 2


def test_after_twenty_minutes_a_rollout_ends_with_what_it_was_doing(studio: Studio, greet: Endpoint) -> None:
    _, operation = studio.deploy(greet, script=SLOW)
    wait_until(lambda: operation.steps.get(name="init").state == "running", what="init() to begin")
    operation.refresh_from_db()
    operation.params["give_up_at"] = timezone.now().isoformat()
    operation.save(update_fields=["params"])
    wake(operation.pk)
    studio.finished(operation)
    assert (operation.state, operation.cause_name) == ("failed", "ResourceNotReady"), told(operation)
    assert "init() is running" in operation.cause_text
    assert call(studio, greet).json() == 'hello "you"'


def test_a_cancelled_rollout_puts_back_what_was(studio: Studio, greet: Endpoint) -> None:
    _, operation = studio.deploy(greet, script=SLOW)
    wait_until(lambda: operation.steps.get(name="init").state == "running", what="init() to begin")
    request_cancel(operation, actor=SLIPWAY)
    studio.finished(operation)
    assert operation.state == "cancelled", told(operation)
    assert "revision 1 of blue answers" in operation.summary
    assert call(studio, greet).json() == 'hello "you"'


def test_a_deleted_endpoint_leaves_nothing_in_the_cluster(studio: Studio, greet: Endpoint) -> None:
    operation = delete_endpoint(greet, actor=SLIPWAY)
    studio.finished(operation)
    assert operation.state == "succeeded", told(operation)
    assert not Endpoint.objects.exists()
    kube, namespace = kube_for(studio.target.cluster), studio.target.namespace
    assert kube.find(ONLINE_ENDPOINTS, "greet", namespace) is None
    assert kube.list(PODS, namespace) == []
    assert what_is_left(kube, namespace=namespace, endpoint="greet") == []


def test_an_environment_that_cannot_be_built_is_named_and_nothing_is_applied(studio: Studio) -> None:
    endpoint = studio.endpoint("greet")
    studio.spec(endpoint)
    register_environment(studio.workspace, name="wrong", requirements="numpy==0.0.987", actor=SLIPWAY)
    _, operation = studio.deploy(endpoint, environment="wrong:1")
    studio.finished(operation)
    assert (operation.state, operation.cause_name) == ("failed", "ImageBuildFailure"), told(operation)
    assert "Nothing in the cluster was changed" in operation.summary
    assert any(line.source == "build" and "0.0.987" in line.text for line in operation.log.lines.all())
    kube = kube_for(studio.target.cluster)
    assert kube.list(DEPLOYMENTS, studio.target.namespace) == []
    assert kube.list(PODS, studio.target.namespace) == []
    wait_until(lambda: not kube.list(PODS, contract.BUILDS_NAMESPACE), what="the build pod to go")


def test_two_rollouts_of_one_environment_build_it_once(studio: Studio) -> None:
    first, second = studio.endpoint("one"), studio.endpoint("two")
    studio.spec(first)
    register_environment(studio.workspace, name="other", requirements="iniconfig", actor=SLIPWAY)
    operations = [studio.deploy(endpoint, environment="other:1")[1] for endpoint in (first, second)]
    for operation in operations:
        studio.finished(operation)
        assert operation.state == "succeeded", told(operation)
    begun = [line for operation in operations for line in operation.log.lines.all() if "building other:1" in line.text]
    assert len(begun) == 1

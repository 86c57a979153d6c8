"""kubectl, as people type it."""

import base64
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO

import pytest

from tests.conformance.conftest import AccountMaker, Cluster, Kubectl
from tests.conformance.test_access import signing_request, who
from tests.conformance.world import LOOK, WAIT, Obj, Place, config


@pytest.fixture
def k(kubectl: Kubectl, place: Place) -> Kubectl:
    """kubectl in the test's namespace."""

    def run(*words: str, **more: object) -> str:
        return kubectl("-n", place.name, *words, **more)

    return run


def columns(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_apply_says_what_it_did(k: Kubectl, place: Place) -> None:
    body = config("one", a="b")
    assert k("apply", "-f", "-", text=body).strip() == "configmap/one created"
    assert k("apply", "-f", "-", text=body).strip() == "configmap/one unchanged"
    assert k("apply", "-f", "-", text=config("one", c="d")).strip() == "configmap/one configured"
    assert place.caller.get(place.path("configmaps", "one"))["data"] == {"c": "d"}
    assert k("apply", "--server-side", "-f", "-", text=config("two")).strip() == "configmap/two serverside-applied"
    assert "conflict" in k(
        "apply", "--server-side", "--field-manager=other", "-f", "-", text=config("one", c="x"), code=1
    )


def test_get_shows_the_usual_columns(k: Kubectl, place: Place) -> None:
    k("apply", "-f", "-", text=place.deployment("web"))
    place.until_available("web", replicas=1)
    header, row = k("get", "deployments").splitlines()
    assert columns(header) == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert columns(row)[:4] == ["web", "1/1", "1", "1"]
    header, row = k("get", "pods").splitlines()
    assert columns(header) == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert columns(row)[1:4] == ["1/1", "Running", "0"]
    header = k("get", "pods", "-o", "wide").splitlines()[0]
    assert columns(header)[5:] == ["IP", "NODE", "NOMINATED NODE", "READINESS GATES"]
    header = k("get", "rs").splitlines()[0]
    assert columns(header) == ["NAME", "DESIRED", "CURRENT", "READY", "AGE"]
    assert k("get", "services").strip() == f"No resources found in {place.name} namespace."


def test_get_as_yaml_can_be_applied_again(k: Kubectl, place: Place) -> None:
    k("apply", "-f", "-", text=config("one", a="b"))
    text = k("get", "configmap", "one", "-o", "yaml")
    assert "kind: ConfigMap" in text
    assert k("get", "configmap", "one", "-o", "jsonpath={.data.a}") == "b"
    assert k("apply", "-f", "-", text=text).startswith("configmap/one ")


def test_what_is_not_there_is_an_error_from_the_server(k: Kubectl) -> None:
    assert k("get", "pod", "none", code=1).strip() == 'Error from server (NotFound): pods "none" not found'
    assert 'the server doesn\'t have a resource type "ships"' in k("get", "ships", code=1)


@contextmanager
def following(cluster: Cluster, place: Place, *words: str) -> Iterator[IO[str]]:
    """What `kubectl get --watch` prints, line by line; a line that does not come ends the output, not the run."""
    command = ["kubectl", f"--kubeconfig={cluster.kubeconfig}", "-n", place.name, "get", *words, "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        patience = threading.Timer(WAIT, process.kill)
        patience.start()
        try:
            yield process.stdout
        finally:
            patience.cancel()
            process.kill()


@contextmanager
def changing(place: Place, *kind_and_name: str) -> Iterator[None]:
    """Annotate an object again and again: kubectl drops the first event of its watch, which may hold any change."""
    over = threading.Event()

    def annotate() -> None:
        for number in count():
            if over.wait(LOOK):
                return
            change = {"metadata": {"annotations": {"changed": str(number)}}}
            place.caller.patch(place.path(*kind_and_name), change)

    thread = threading.Thread(target=annotate)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_get_w_tells_of_changes(cluster: Cluster, k: Kubectl, place: Place) -> None:
    k("apply", "-f", "-", text=config("one", a="b"))
    with following(cluster, place, "configmap", "one", "-o", "jsonpath={.data.a}{'\\n'}") as lines:
        assert lines.readline() == "b\n"
        place.caller.patch(place.path("configmaps", "one"), {"data": {"a": "c"}})
        with changing(place, "configmaps", "one"):
            assert lines.readline() == "c\n"


def test_get_w_adds_a_row_for_each_change(cluster: Cluster, k: Kubectl, place: Place) -> None:
    k("apply", "-f", "-", text=place.deployment("web", replicas=0))
    with following(cluster, place, "deployment", "web") as lines:
        assert columns(lines.readline())[:2] == ["NAME", "READY"]
        assert columns(lines.readline())[:2] == ["web", "0/0"]
        k("scale", "deployment", "web", "--replicas=1")
        with changing(place, "apps/v1/deployments", "web"):
            assert any(columns(line)[1] == "1/1" for line in lines)


@pytest.mark.needs("create", "certificatesigningrequests.certificates.k8s.io")
@pytest.mark.needs("approve", "signers.certificates.k8s.io")
def test_certificate_approve_makes_a_user(kubectl: Kubectl, cluster: Cluster, place: Place, tmp_path: Path) -> None:
    user, group = f"joe-{place.name}", f"crew-{place.name}"
    key, spec = signing_request(user, group)
    body = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": user}}
    kubectl("create", "-f", "-", text={**body, "spec": spec})
    try:
        assert "Pending" in kubectl("get", "csr", user)
        assert f"certificatesigningrequest.certificates.k8s.io/{user} approved" in kubectl(
            "certificate", "approve", user
        )
        kubectl("wait", "--for=jsonpath={.status.certificate}", f"csr/{user}", "--timeout=60s")
        assert "Approved,Issued" in kubectl("get", "csr", user)
        made = kubectl("get", "csr", user, "-o", "jsonpath={.status.certificate}")
    finally:
        kubectl("delete", "csr", user)
    (tmp_path / "crt").write_bytes(base64.b64decode(made))
    (tmp_path / "key").write_bytes(key)
    joe = cluster.caller(certificate=(tmp_path / "crt", tmp_path / "key"))
    assert (who(joe)["username"], set(who(joe)["groups"])) == (user, {group, "system:authenticated"})


@pytest.mark.needs("create", "certificatesigningrequests.certificates.k8s.io")
@pytest.mark.needs("approve", "signers.certificates.k8s.io")
def test_certificate_deny_makes_none(kubectl: Kubectl, place: Place) -> None:
    name = f"jim-{place.name}"
    _, spec = signing_request(name, "crew")
    body = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name}}
    kubectl("create", "-f", "-", text={**body, "spec": spec})
    try:
        kubectl("certificate", "deny", name)
        assert "Denied" in kubectl("get", "csr", name)
        assert kubectl("get", "csr", name, "-o", "jsonpath={.status.certificate}") == ""
    finally:
        kubectl("delete", "csr", name)


def test_describe_tells_of_the_pod_and_its_events(k: Kubectl, place: Place) -> None:
    place.run("web")
    place.until_ready("web")
    place.until_event("web", "Started")
    text = k("describe", "pod", "web")
    assert re.search(r"^Status:\s+Running$", text, re.MULTILINE)
    assert re.search(r"^\s+Normal\s+Scheduled\s+.*Successfully assigned .*/web to ", text, re.MULTILINE)
    assert re.search(r"^\s+Normal\s+Started\s+.*Started container main$|Container started", text, re.MULTILINE)


def test_describe_tells_of_the_deployment(k: Kubectl, place: Place) -> None:
    k("apply", "-f", "-", text=place.deployment("web"))
    place.until_available("web", replicas=1)
    text = k("describe", "deployment", "web")
    assert "1 desired | 1 updated | 1 total | 1 available | 0 unavailable" in text
    assert "ScalingReplicaSet" in text


def test_logs_are_read_whole_in_part_and_by_container(k: Kubectl, place: Place) -> None:
    side = {**place.pod("x", run="echo aside; exec sleep 1000")["spec"]["containers"][0], "name": "side"}
    main = place.pod("web", run="for i in 1 2 3; do echo line $i; done; exec sleep 1000")
    main["spec"]["containers"].append(side)
    place.caller.create(place.path("pods"), main)
    place.until_ready("web")
    assert k("logs", "web", "-c", "main") == "line 1\nline 2\nline 3\n"
    assert k("logs", "web", "-c", "main", "--tail=1") == "line 3\n"
    assert k("logs", "web", "-c", "side") == "aside\n"
    assert re.match(r"^\d{4}-\d\d-\d\dT[\d:.]+Z line 1\n", k("logs", "web", "-c", "main", "--timestamps"))
    assert "container nobody is not valid for pod web" in k("logs", "web", "-c", "nobody", code=1)


def test_logs_f_ends_with_the_container(k: Kubectl, place: Place) -> None:
    run = "echo begin; sleep 1; echo end"
    place.run("once", run=run, spec={"restartPolicy": "Never"})
    k("wait", "--for=condition=Ready", "pod/once", "--timeout=60s")
    assert k("logs", "-f", "once") == "begin\nend\n"


def test_logs_of_the_one_before_are_kept(k: Kubectl, place: Place) -> None:
    run = "if [ -e /cache/been ]; then echo second; exec sleep 1000; fi; touch /cache/been; echo first; exit 3"
    volume = {"volumes": [{"name": "cache", "emptyDir": {}}]}
    place.run("web", run=run, spec=volume, volumeMounts=[{"name": "cache", "mountPath": "/cache"}])

    def again(pod: Obj) -> bool:
        (status,) = (pod.get("status") or {}).get("containerStatuses") or [{}]
        return bool(status.get("ready")) and status["restartCount"] == 1

    place.caller.until(place.path("pods", "web"), again)
    assert k("logs", "web") == "second\n"
    assert k("logs", "web", "--previous") == "first\n"


def test_scale_set_image_rollout_and_undo(k: Kubectl, place: Place) -> None:
    k("apply", "-f", "-", text=place.deployment("web"))
    assert k("rollout", "status", "deployment/web", "--timeout=60s").strip().endswith("successfully rolled out")
    assert k("scale", "deployment/web", "--replicas=2").strip() == "deployment.apps/web scaled"
    place.until_available("web", replicas=2)
    k("set", "env", "deployment/web", "COLOUR=blue")
    k("rollout", "status", "deployment/web", "--timeout=60s")
    history = k("rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    assert k("rollout", "undo", "deployment/web").strip() == "deployment.apps/web rolled back"
    k("rollout", "status", "deployment/web", "--timeout=60s")
    found = place.caller.get(place.path("apps/v1/deployments", "web"))
    assert "env" not in found["spec"]["template"]["spec"]["containers"][0]
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    k("set", "image", "deployment/web", "main=slipway.invalid/none:1")
    changed = place.caller.get(place.path("apps/v1/deployments", "web"))
    assert changed["spec"]["template"]["spec"]["containers"][0]["image"] == "slipway.invalid/none:1"


def test_rollout_restart_replaces_the_pods(k: Kubectl, place: Place) -> None:
    k("apply", "-f", "-", text=place.deployment("web"))
    place.until_available("web", replicas=1)
    (before,) = place.pods("web")
    k("rollout", "restart", "deployment/web")
    k("rollout", "status", "deployment/web", "--timeout=60s")
    place.caller.until_gone(place.path("pods", before["metadata"]["name"]))
    (after,) = place.pods("web")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


def test_label_annotate_and_select(k: Kubectl, place: Place) -> None:
    k("apply", "-f", "-", text=config("one"))
    assert k("label", "configmap", "one", "tier=web").strip() == "configmap/one labeled"
    assert k("get", "configmap", "-l", "tier=web", "-o", "name").strip() == "configmap/one"
    k("label", "configmap", "one", "tier-")
    k("annotate", "configmap", "one", "note=here")
    metadata = place.caller.get(place.path("configmaps", "one"))["metadata"]
    assert "labels" not in metadata
    assert metadata["annotations"]["note"] == "here"


def test_wait_waits_for_conditions_and_for_the_end(k: Kubectl, place: Place) -> None:
    place.run("web")
    assert k("wait", "--for=condition=Ready", "pod/web", "--timeout=60s").strip() == "pod/web condition met"
    assert "timed out waiting" in k("wait", "--for=condition=Never", "pod/web", "--timeout=1s", code=1)
    assert "deleted" in k("delete", "pod", "web")
    k("wait", "--for=delete", "pod/web", "--timeout=60s")
    assert place.caller.ask("GET", place.path("pods", "web")).code == 404


def test_diff_and_dry_run_change_nothing(k: Kubectl, place: Place) -> None:
    k("apply", "-f", "-", text=config("one", a="b"))
    assert "+  a: c" in k("diff", "-f", "-", text=config("one", a="c"), code=1)
    assert "(server dry run)" in k("apply", "--dry-run=server", "-f", "-", text=config("one", a="c"))
    assert place.caller.get(place.path("configmaps", "one"))["data"] == {"a": "b"}


def test_a_misspelt_field_is_refused_by_validation(k: Kubectl, place: Place) -> None:
    body = place.deployment("web") | {"specc": {}}
    assert 'unknown field "specc"' in k("apply", "-f", "-", text=body, code=1)


def test_explain_knows_the_fields(k: Kubectl) -> None:
    assert "replicas" in k("explain", "deployment.spec")


def test_auth_can_i_follows_the_roles(k: Kubectl, account: AccountMaker, place: Place) -> None:
    account("bot", {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]})
    bot = f"--as=system:serviceaccount:{place.name}:bot"
    assert k("auth", "can-i", "get", "pods", bot).strip() == "yes"
    assert k("auth", "can-i", "delete", "pods", bot, code=1).strip() == "no"
    listed = k("auth", "can-i", "--list", bot)
    assert re.search(r"^pods\s+\[\]\s+\[\]\s+\[get\]$", listed, re.MULTILINE)
    assert f"system:serviceaccount:{place.name}:bot" in k("auth", "whoami", bot)


def test_a_refusal_is_shown_as_the_server_words_it(k: Kubectl, account: AccountMaker, place: Place) -> None:
    account("bot")
    bot = f"system:serviceaccount:{place.name}:bot"
    assert k("get", "pods", f"--as={bot}", code=1).strip() == (
        f'Error from server (Forbidden): pods is forbidden: User "{bot}" cannot list resource "pods" '
        f'in API group "" in the namespace "{place.name}"'
    )


def test_a_token_is_made_and_used(kubectl: Kubectl, cluster: Cluster, place: Place, tmp_path: Path) -> None:
    kubectl("create", "serviceaccount", "bot", "-n", place.name)
    token = kubectl("create", "token", "bot", "-n", place.name, "--duration=10m").strip()
    assert cluster.caller(token=token).ask("GET", place.path("pods")).code == 403

"""A pod's life: phases, the states of its containers with their reasons, probes, and how it ends."""

from datetime import datetime
from typing import Any

import pytest

from tests.conformance.conftest import Cluster
from tests.conformance.world import Obj, Place, condition, is_ready

TRAP = "trap 'echo asked to end; sleep 1; echo ended; exit 0' TERM; echo begun; while true; do sleep 0.1; done"


def state(pod: Obj, container: int = 0) -> Obj:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return dict(statuses[container].get("state") or {}) if len(statuses) > container else {}


def waits_for(reason: str) -> Any:
    return lambda pod: state(pod).get("waiting", {}).get("reason") == reason


def never(place: Place, name: str, run: str, **container: Any) -> Obj:
    return place.run(name, run=run, spec={"restartPolicy": "Never"}, **container)


def test_a_pod_is_scheduled_started_and_ready(place: Place) -> None:
    place.run("web")
    pod = place.until_ready("web")
    status = pod["status"]
    assert status["phase"] == "Running"
    assert pod["spec"]["nodeName"]
    assert status["podIP"] == status["podIPs"][0]["ip"]
    for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready"):
        assert condition(pod, kind) == "True"
    assert "startedAt" in state(pod)["running"]
    (container,) = status["containerStatuses"]
    assert (container["ready"], container["started"], container["restartCount"]) == (True, True, 0)
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        place.until_event("web", reason)


def test_a_pod_gets_what_the_cluster_fills_in(place: Place) -> None:
    spec = place.run("web")["spec"]
    assert spec["restartPolicy"] == "Always"
    assert spec["serviceAccountName"] == "default"
    assert spec["dnsPolicy"] == "ClusterFirst"
    (container,) = spec["containers"]
    assert "/var/run/secrets/kubernetes.io/serviceaccount" in [each["mountPath"] for each in container["volumeMounts"]]
    assert container["terminationMessagePolicy"] == "File"


def test_a_pod_that_ends_well_has_succeeded(place: Place) -> None:
    never(place, "once", "echo done")
    ended = state(place.until_phase("once", "Succeeded"))["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (0, "Completed")


def test_a_pod_that_ends_badly_has_failed_with_its_code(place: Place) -> None:
    never(place, "once", "exit 7")
    pod = place.until_phase("once", "Failed")
    ended = state(pod)["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (7, "Error")
    assert not is_ready(pod)


def test_a_container_that_takes_more_memory_than_its_limit_is_killed_for_it(cluster: Cluster, place: Place) -> None:
    nodes = cluster.nodes() if cluster.admin.may("list", "nodes") else []
    if any((node["metadata"].get("annotations") or {}).get("slipway.dev/memory-limits") == "none" for node in nodes):
        pytest.skip("memory limits cannot be set on this machine")
    greedy = ["python3", "-c", "import time; x = b'x' * 300_000_000; time.sleep(60)"]
    limit = {"limits": {"memory": "64Mi"}}
    place.run("greedy", command=greedy, resources=limit, spec={"restartPolicy": "Never"})
    ended = state(place.until_phase("greedy", "Failed"))["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_events_come_in_the_order_in_which_things_happen(place: Place) -> None:
    since = place.caller.get(place.path("events"))["metadata"]["resourceVersion"]
    place.run("web")
    place.until_ready("web")
    place.caller.delete(place.path("pods", "web"))
    with place.caller.watch(place.path("events"), resourceVersion=since) as events:
        told = (e["object"] for e in events if e["object"]["involvedObject"]["name"] == "web")
        reasons = (event["reason"] for event in told if event["reason"] != "Pulling")
        assert [next(reasons) for _ in range(5)] == ["Scheduled", "Pulled", "Created", "Started", "Killing"]


def test_a_last_message_is_read_from_the_file_for_it(place: Place) -> None:
    never(place, "once", "echo -n out of luck > /dev/termination-log; exit 1")
    assert state(place.until_phase("once", "Failed"))["terminated"]["message"] == "out of luck"


def test_a_container_that_keeps_ending_is_started_again_ever_later(place: Place) -> None:
    place.run("web", run="exit 1")
    path = place.path("pods", "web")
    pod = place.caller.until(path, waits_for("CrashLoopBackOff"))
    (status,) = pod["status"]["containerStatuses"]
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert "back-off" in status["state"]["waiting"]["message"]
    assert pod["status"]["phase"] == "Running"
    place.until_event("web", "BackOff")


def test_an_image_that_is_not_there_is_named(place: Place) -> None:
    place.run("web", image="slipway.invalid/none:1")
    path = place.path("pods", "web")
    found = place.caller.until(
        path, lambda pod: state(pod).get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff")
    )
    assert found["status"]["phase"] == "Pending"
    message = place.caller.until(path, waits_for("ImagePullBackOff"))["status"]["containerStatuses"][0]
    assert 'Back-off pulling image "slipway.invalid/none:1"' in message["state"]["waiting"]["message"]
    place.until_event("web", "Failed", says='Failed to pull image "slipway.invalid/none:1"')
    place.until_event("web", "Failed", says="Error: ErrImagePull")


def test_a_container_whose_configuration_is_missing_waits_for_it(place: Place) -> None:
    source = {"configMapKeyRef": {"name": "settings", "key": "colour"}}
    place.run("web", env=[{"name": "COLOUR", "valueFrom": source}])
    pod = place.caller.until(place.path("pods", "web"), waits_for("CreateContainerConfigError"))
    assert state(pod)["waiting"]["message"] == 'configmap "settings" not found'
    place.caller.create(place.path("configmaps"), {"metadata": {"name": "settings"}, "data": {"colour": "blue"}})
    place.until_ready("web")


def test_a_pod_reads_its_settings_secrets_and_own_names(place: Place) -> None:
    caller = place.caller
    caller.create(place.path("configmaps"), {"metadata": {"name": "settings"}, "data": {"colour": "blue"}})
    caller.create(place.path("secrets"), {"metadata": {"name": "key"}, "stringData": {"word": "secret"}})
    env = [
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "key", "key": "word"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "BOTH", "value": "$(NAME)-$(COLOUR)"},
    ]
    spec = {
        "restartPolicy": "Never",
        "volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
    }
    mounts = [{"name": "settings", "mountPath": "/settings"}]
    place.run("once", run="echo $COLOUR $WORD $BOTH; cat /settings/colour", env=env, spec=spec, volumeMounts=mounts)
    place.until_phase("once", "Succeeded")
    assert caller.ask("GET", place.path("pods", "once/log")).body.split() == ["blue", "secret", "once-blue", "blue"]


def test_init_containers_run_before_one_after_another(place: Place) -> None:
    first = place.pod("x", run="echo first >> /shared/steps", volumeMounts=[{"name": "shared", "mountPath": "/shared"}])
    second = place.pod(
        "x", run="echo second >> /shared/steps", volumeMounts=[{"name": "shared", "mountPath": "/shared"}]
    )
    inits = [{**each["spec"]["containers"][0], "name": name} for name, each in (("one", first), ("two", second))]
    spec = {"restartPolicy": "Never", "initContainers": inits, "volumes": [{"name": "shared", "emptyDir": {}}]}
    place.run("web", run="cat /shared/steps", spec=spec, volumeMounts=[{"name": "shared", "mountPath": "/shared"}])
    place.until_phase("web", "Succeeded")
    assert place.caller.ask("GET", place.path("pods", "web/log")).body.split() == ["first", "second"]


def test_a_probe_that_fails_takes_a_pod_out_and_one_that_succeeds_puts_it_in(place: Place) -> None:
    probe = {"exec": {"command": ["sh", "-c", "test -e /tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    volume = {"volumes": [{"name": "tmp", "emptyDir": {}}]}
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]
    run = "sleep 2; touch /tmp/ready; sleep 3; rm /tmp/ready; exec sleep 1000"
    place.run("web", run=run, readinessProbe=probe, spec=volume, volumeMounts=mounts)
    path = place.path("pods", "web")
    early = place.caller.until(path, lambda pod: "running" in state(pod))
    assert not is_ready(early)
    place.until_ready("web")
    place.caller.until(path, lambda pod: condition(pod, "Ready") == "False")
    place.until_event("web", "Unhealthy")


def test_a_container_that_is_no_longer_alive_is_started_again(place: Place) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    place.run("web", livenessProbe=probe)
    path = place.path("pods", "web")
    place.until_event("web", "Killing", says="failed liveness probe, will be restarted")
    place.caller.until(path, lambda pod: pod["status"]["containerStatuses"][0]["restartCount"] > 0)


def test_a_pod_is_asked_to_end_before_it_is_killed(place: Place) -> None:
    spec = {"terminationGracePeriodSeconds": 30}
    place.run("web", run=TRAP, spec=spec)
    place.until_ready("web")
    path = place.path("pods", "web")
    with place.caller.stream(f"{path}/log", follow="true") as (_, lines):
        assert next(lines) == b"begun"
        deleted = place.caller.delete(path)
        assert deleted["metadata"]["deletionGracePeriodSeconds"] == 30
        assert place.caller.get(path)["metadata"]["deletionTimestamp"]
        assert list(lines) == [b"asked to end", b"ended"]
    place.caller.until_gone(path)


def test_pre_stop_runs_before_the_signal(place: Place) -> None:
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /proc/1/fd/1 2>/dev/null || true; sleep 1"]}}}
    spec = {"terminationGracePeriodSeconds": 30}
    place.run(
        "web",
        run="trap 'date +%s.%N; exit 0' TERM; echo begun; while true; do sleep 0.1; done",
        spec=spec,
        lifecycle=hook,
    )
    place.until_ready("web")
    path = place.path("pods", "web")
    with place.caller.stream(f"{path}/log", follow="true") as (_, lines):
        assert next(lines) == b"begun"
        asked = datetime.fromisoformat(place.caller.delete(path)["metadata"]["deletionTimestamp"]).timestamp() - 30
        signalled = float([line for line in lines if line != b"hook"][-1])
    assert signalled - asked >= 0.9


def test_a_pod_that_does_not_end_is_killed_when_its_time_is_over(place: Place) -> None:
    place.run("web", run="trap '' TERM; echo begun; while true; do sleep 0.1; done")
    place.until_ready("web")
    place.caller.delete(place.path("pods", "web"), gracePeriodSeconds=1)
    place.caller.until_gone(place.path("pods", "web"), seconds=20)


def test_an_eviction_ends_a_pod_unless_a_budget_forbids_it(place: Place) -> None:
    place.run("web")
    place.until_ready("web")
    budget = {"metadata": {"name": "all"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}
    place.caller.create(place.path("policy/v1/poddisruptionbudgets"), budget)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web", "namespace": place.name}}
    path = place.path("pods", "web/eviction")
    refused = place.caller.ask("POST", path, eviction)
    assert (refused.code, refused.body["reason"]) == (429, "TooManyRequests")
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused.message
    place.caller.delete(place.path("policy/v1/poddisruptionbudgets", "all"))
    place.caller.until_gone(place.path("policy/v1/poddisruptionbudgets", "all"))
    assert place.caller.ask("POST", path, eviction).code == 201
    place.caller.until_gone(place.path("pods", "web"))

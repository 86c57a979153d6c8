"""What a kubelet does with one pod, with real containers."""

import os
import re
from pathlib import Path

import pytest

from clusters.embedded.images import directory_name
from clusters.embedded.kubelet.isolation import NONE
from clusters.embedded.resources import CONFIG_MAPS, EVENTS, PERSISTENT_VOLUME_CLAIMS, PODS, SECRETS, Obj
from tests.clusters.embedded.conftest import Starter, World, container, pod

SLEEP = ["sleep", "1000"]
IGNORES_TERM = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]


def terminated(world: World, name: str) -> Obj | None:
    return world.status(name).get("state", {}).get("terminated")


def waiting_reason(world: World, name: str) -> str:
    return str(world.status(name).get("state", {}).get("waiting", {}).get("reason", ""))


async def finish(world: World, body: Obj) -> str:
    """Run a pod to its end and return what it printed."""
    name = body["metadata"]["name"]
    body["spec"]["restartPolicy"] = "Never"
    world.run(body)
    await world.until(lambda: world.get(name).get("status", {}).get("phase") in {"Succeeded", "Failed"})
    return world.log(name)


async def test_a_container_has_its_own_root_user_and_process_ids_and_not_the_clusters_environment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_SECRET", "hidden")
    if os.geteuid() != 0 or not world.cluster.kubelet.node.isolation.own_pids:
        pytest.skip("needs root and namespaces")
    script = "id -u; echo $$$$; env | grep -c STUDIO; touch /usr/x 2>/dev/null || echo readonly; hostname"
    main = container(["sh", "-c", script], securityContext={"runAsUser": 1234})
    uid, pid, leaked, *rest = (await finish(world, pod("own", main))).splitlines()
    assert (uid, pid, leaked) == ("1234", "1", "0")
    assert rest[-2:] == ["readonly", "own"]
    state = str(world.cluster.data / "state.sqlite")
    main = container(["sh", "-c", f"test -e '{state}' && echo seen || echo unseen"])
    assert await finish(world, pod("prying", main)) == "unseen"


async def test_variables_come_from_fields_resources_secrets_and_config_maps_and_are_expanded(world: World) -> None:
    registry = world.cluster.registry
    registry.create(SECRETS, {"metadata": {"name": "s"}, "data": {"word": "b3Blbg=="}}, namespace="default")
    registry.create(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"A": "from-map"}}, namespace="default")
    main = container(
        ["sh", "-c", "echo $(WORD) $NAME $NODE $IP $CPU $BOTH $A '$$(WORD)' $(NOT_THERE)"],
        envFrom=[{"configMapRef": {"name": "c"}}],
        resources={"limits": {"cpu": "1500m"}},
        env=[
            {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "word"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "BOTH", "value": "$(WORD)-$(A)"},
        ],
    )
    main["command"][2] = main["command"][2].replace("$(NOT_THERE)", "'$(NOT_THERE)'")
    text = await finish(world, pod("vars", main))
    ip = world.get("vars")["status"]["podIP"]
    assert text == f"open vars local {ip} 2 open-from-map from-map $(WORD) $(NOT_THERE)"


async def test_a_missing_secret_key_is_told_and_the_container_starts_once_it_is_there(world: World) -> None:
    env = [{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "late", "key": "word"}}}]
    world.run(pod("waits", container(SLEEP, env=env)))
    await world.until(lambda: waiting_reason(world, "waits") == "CreateContainerConfigError")
    assert world.status("waits")["state"]["waiting"]["message"] == 'secret "late" not found'
    secret = {"metadata": {"name": "late"}, "data": {"word": "eA=="}}
    world.cluster.registry.create(SECRETS, secret, namespace="default")
    await world.until_ready("waits")


async def test_init_containers_run_in_order_and_hand_over_by_an_empty_dir(world: World) -> None:
    mounts = [{"name": "work", "mountPath": "/work"}]
    inits = [
        container(["sh", "-c", f"echo {word} >> /work/file"], volumeMounts=mounts) | {"name": word}
        for word in ("one", "two")
    ]
    main = container(["cat", "/work/file"], volumeMounts=mounts, securityContext={"runAsUser": 1000})
    body = pod("ordered", main, initContainers=inits, volumes=[{"name": "work", "emptyDir": {}}])
    assert await finish(world, body) == "one\ntwo"
    statuses = world.get("ordered")["status"]["initContainerStatuses"]
    assert [status["state"]["terminated"]["reason"] for status in statuses] == ["Completed", "Completed"]


async def test_a_failing_container_backs_off_with_the_words_of_a_kubelet(world: World) -> None:
    main = container(["sh", "-c", "echo broken >&2; exit 3"], terminationMessagePolicy="FallbackToLogsOnError")
    world.run(pod("broken", main))
    await world.until(lambda: waiting_reason(world, "broken") == "CrashLoopBackOff")
    status = world.status("broken")
    assert re.fullmatch(
        r"back-off 0\.2s restarting failed container=main pod=broken_default\([0-9a-f-]+\)",
        status["state"]["waiting"]["message"],
    )
    last = status["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"], last["message"]) == (3, "Error", "broken")
    await world.until(lambda: world.status("broken")["restartCount"] >= 3)
    assert {"Pulled", "Created", "Started", "BackOff"} <= world.reasons("broken")


async def test_a_program_that_is_not_there_is_named(world: World) -> None:
    world.run(pod("typo", container(["pyhton"]), restartPolicy="Never"))
    ended = await world.until(lambda: terminated(world, "typo"))
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert ended["message"] == 'exec: "pyhton": executable file not found in $PATH'


async def test_an_image_that_appears_later_starts_the_pod(world: World) -> None:
    body = pod("early", container(SLEEP))
    body["spec"]["containers"][0]["image"] = "late:1"
    world.run(body)
    await world.until(lambda: waiting_reason(world, "early") in {"ErrImagePull", "ImagePullBackOff"})
    assert {"Pulling", "Failed"} <= world.reasons("early")
    home = world.cluster.data / "images" / directory_name("late:1")
    home.mkdir()
    (home / "image.json").write_text('{"ref": "late:1", "path": []}')
    await world.until_ready("early")


async def test_a_container_deaf_to_term_is_killed_after_its_grace_with_all_it_forked(world: World) -> None:
    marker = "997.125"
    forks = ["sh", "-c", f"(setsid sleep {marker} &) ; trap '' TERM; echo deaf; while :; do sleep 0.1; done"]
    world.run(pod("deaf", container(forks)))
    await world.until(lambda: world.log("deaf") == "deaf" and sleepers(marker))
    world.cluster.registry.delete(PODS, "default", "deaf", grace_seconds=1)
    await world.until(lambda: world.find("deaf") is None)
    assert not sleepers(marker)


async def test_without_namespaces_too_nothing_a_container_forked_stays(start: Starter) -> None:
    world, marker = await start(isolation=NONE), "996.125"
    world.run(pod("forks", container(["sh", "-c", f"(setsid sleep {marker} &) ; exec sleep 1000"])))
    await world.until(lambda: sleepers(marker))
    world.cluster.registry.delete(PODS, "default", "forks")
    await world.until(lambda: world.find("forks") is None)
    assert not sleepers(marker)


def sleepers(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if command == b"sleep\0" + marker.encode() + b"\0":
                found.append(int(entry.name))
    return found


async def test_a_forced_delete_ends_the_processes_too(world: World) -> None:
    marker = "995.125"
    world.run(pod("forced", container(["sleep", marker])))
    await world.until_ready("forced")
    world.cluster.registry.delete(PODS, "default", "forced", grace_seconds=0)
    await world.until(lambda: not sleepers(marker))


async def test_pre_stop_runs_before_term_and_the_endpoint_is_out_by_then(world: World) -> None:
    mounts = [{"name": "log", "mountPath": "/log"}]
    script = "trap 'echo term >> /log/order; exit 0' TERM; while :; do sleep 0.05; done"
    main = container(
        ["sh", "-c", script],
        volumeMounts=mounts,
        lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /log/order; sleep 0.3"]}}},
    )
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    registry = world.cluster.registry
    registry.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "log"}, "spec": claim}, namespace="default")
    body = pod("hooked", main, volumes=[{"name": "log", "persistentVolumeClaim": {"claimName": "log"}}])
    body["spec"]["terminationGracePeriodSeconds"] = 5
    world.run(body)
    await world.until_ready("hooked")
    registry.delete(PODS, "default", "hooked")
    await world.until(lambda: world.find("hooked") is None)
    bound = registry.get(PERSISTENT_VOLUME_CLAIMS, "default", "log")["spec"]["volumeName"]
    assert (world.cluster.data / "volumes" / bound / "order").read_text().split() == ["hook", "term"]


async def test_a_failing_liveness_probe_restarts_the_container(world: World) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    main = container(["sh", "-c", "touch /tmp/alive; sleep 1.5; rm /tmp/alive; sleep 1000"], livenessProbe=probe)
    world.run(pod("dying", main))
    await world.until(lambda: world.status("dying").get("restartCount", 0) >= 1)
    assert {"Unhealthy", "Killing"} <= world.reasons("dying")


async def test_readiness_waits_for_the_startup_probe_and_then_for_itself(world: World) -> None:
    startup = {"exec": {"command": ["test", "-e", "/tmp/started"]}, "periodSeconds": 1, "failureThreshold": 30}
    ready = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    script = "sleep 0.5; touch /tmp/started; sleep 1; touch /tmp/ready; sleep 1000"
    world.run(pod("slow", container(["sh", "-c", script], startupProbe=startup, readinessProbe=ready)))
    await world.until(lambda: world.status("slow").get("started"))
    assert not world.status("slow")["ready"]
    await world.until_ready("slow")


async def test_a_probe_does_not_pass_on_another_pods_listener(world: World) -> None:
    thief = "import socket,time; s=socket.create_server(('0.0.0.0', 18099)); print('on', flush=True); time.sleep(1000)"
    world.run(pod("wide", container(["python", "-S", "-c", thief])))
    await world.until(lambda: world.log("wide") == "on")
    probe = {"tcpSocket": {"port": 18099}, "periodSeconds": 1}
    world.run(pod("fooled", container(SLEEP, readinessProbe=probe)))
    await world.until(lambda: "Unhealthy" in world.reasons("fooled"))
    assert not world.status("fooled")["ready"]
    messages = [e["message"] for e in world.cluster.registry.list(EVENTS, "default") if e["reason"] == "Unhealthy"]
    assert any("a process of another pod" in message for message in messages)


async def test_a_memory_limit_kills_with_its_real_reason(world: World) -> None:
    if world.cluster.kubelet.node.memory_cgroup is None:
        pytest.skip("memory limits cannot be set on this machine")
    greedy = container(["python", "-S", "-c", "x = bytearray(200_000_000)"], resources={"limits": {"memory": "64Mi"}})
    world.run(pod("greedy", greedy, restartPolicy="Never"))
    ended = await world.until(lambda: terminated(world, "greedy"))
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


async def test_service_account_files_and_names_of_services_are_there(world: World) -> None:
    script = (
        "cd /var/run/secrets/kubernetes.io/serviceaccount; cat namespace; echo; head -1 ca.crt; "
        "test -s token && echo token; getent hosts kubernetes.default.svc.cluster.local | cut -d' ' -f1; "
        "echo $KUBERNETES_SERVICE_HOST"
    )
    lines = (await finish(world, pod("account", container(["sh", "-c", script])))).splitlines()
    address = world.cluster.block.kubernetes_ip
    assert lines == ["default", "-----BEGIN CERTIFICATE-----", "token", address, address]


async def test_a_changed_config_map_reaches_running_pods(world: World) -> None:
    registry = world.cluster.registry
    registry.create(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"word": "old"}}, namespace="default")
    script = "while ! grep -q new /etc/c/word; do sleep 0.05; done; echo seen; sleep 1000"
    main = container(["sh", "-c", script], volumeMounts=[{"name": "c", "mountPath": "/etc/c"}])
    world.run(pod("reader", main, volumes=[{"name": "c", "configMap": {"name": "c"}}]))
    await world.until_ready("reader")
    current = registry.get(CONFIG_MAPS, "default", "c")
    registry.update(CONFIG_MAPS, {**current, "data": {"word": "new"}})
    await world.until(lambda: world.log("reader") == "seen")


async def test_a_host_path_other_than_the_images_is_refused(world: World) -> None:
    main = container(SLEEP, volumeMounts=[{"name": "h", "mountPath": "/h"}])
    world.run(pod("nosy", main, volumes=[{"name": "h", "hostPath": {"path": "/etc"}}]))
    await world.until(lambda: "FailedMount" in world.reasons("nosy"))
    assert not world.status("nosy").get("containerID")


async def test_the_image_of_the_cluster_itself_runs_its_python(world: World) -> None:
    main = container(["python", "-c", "import clusters.embedded, sys; print(sys.version_info[:2] >= (3, 11))"])
    assert await finish(world, pod("itself", main)) == "True"

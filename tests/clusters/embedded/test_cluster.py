"""The whole cluster: workloads, Services, restarts. Everything here runs real processes."""

import asyncio
import os
import re
import socket
from pathlib import Path

import pytest

from clusters.embedded.data import ClusterError
from clusters.embedded.kubelet.isolation import NONE
from clusters.embedded.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICES,
)
from tests.clusters.embedded.conftest import (
    Starter,
    World,
    container,
    deployment,
    http_get,
    pod,
    service,
)

SLEEP = ["sleep", "1000"]


def processes_of(world: World) -> list[str]:
    """Command lines on this machine that name the cluster's directory: its shims, and nothing else."""
    marker = str(world.cluster.data).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker in command and int(entry.name) != os.getpid():
                found.append(command.decode(errors="replace"))
    return found


async def test_a_deployment_answers_through_its_service_and_leaves_nothing_when_deleted(world: World) -> None:
    registry = world.cluster.registry
    world.deploy(deployment("web", replicas=2))
    address = world.expose(service("web"))["spec"]["clusterIP"]
    await world.until_available("web", replicas=2)
    addresses = {p["status"]["podIP"] for p in world.pods()}
    assert len(addresses) == 2
    assert all(re.match(r"127\.\d+\.\d+\.\d+$", ip) and ip != "127.0.0.1" for ip in addresses)
    await world.until(lambda: len(ready_addresses(world, "web")) == 2)
    assert {await http_get(address, 80) for _ in range(4)} == {"1"}

    registry.delete(DEPLOYMENTS, "default", "web")
    registry.delete(SERVICES, "default", "web")
    await world.until(lambda: not world.pods() and not registry.list(REPLICA_SETS, "default"))
    await world.until(lambda: not [s for s in registry.list(ENDPOINT_SLICES) if s["metadata"]["name"] != "kubernetes"])
    await world.until(lambda: not processes_of(world))
    assert not list((world.cluster.data / "pods").iterdir())
    with pytest.raises(ConnectionRefusedError):
        await http_get(address, 80)


def ready_addresses(world: World, name: str) -> set[str]:
    slices = world.cluster.registry.list(ENDPOINT_SLICES, "default")
    return {
        endpoint["addresses"][0]
        for each in slices
        if each["metadata"]["labels"].get("kubernetes.io/service-name") == name
        for endpoint in each["endpoints"]
        if endpoint["conditions"]["ready"]
    }


async def test_a_rolling_update_loses_no_request(world: World) -> None:
    rolling = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    body = deployment("web", replicas=2, strategy=rolling)
    main = body["spec"]["template"]["spec"]["containers"][0]
    main["lifecycle"] = {"preStop": {"sleep": {"seconds": 1}}}
    body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 5
    made = world.deploy(body)
    address = world.expose(service("web"))["spec"]["clusterIP"]
    await world.until_available("web", replicas=2)
    await world.until(lambda: len(ready_addresses(world, "web")) == 2)
    answers: list[str] = []
    done = asyncio.Event()

    async def call() -> None:
        while not done.is_set():
            answers.append(await http_get(address, 80))

    async with asyncio.TaskGroup() as group:
        group.create_task(call())
        main["env"][1]["value"] = "2"
        current = world.cluster.registry.get(DEPLOYMENTS, "default", made["metadata"]["name"])
        world.cluster.registry.update(
            DEPLOYMENTS, {**current, "spec": {**current["spec"], "template": body["spec"]["template"]}}
        )
        await world.until(lambda: answers and answers[-1] == "2")
        await world.until_available("web", replicas=2)
        done.set()
    assert set(answers) == {"1", "2"}
    annotations = world.cluster.registry.get(DEPLOYMENTS, "default", "web")["metadata"]["annotations"]
    assert annotations["deployment.kubernetes.io/revision"] == "2"


async def test_pods_survive_a_kill_of_the_cluster_and_are_taken_over(tmp_path: Path, start: Starter) -> None:
    data = tmp_path / "with space" / "data"
    program = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from clusters.embedded.cluster import Cluster, Options\n"
        "from clusters.embedded.resources import PODS\n"
        "async def main():\n"
        "    cluster = await Cluster.open(Options(data=Path(sys.argv[1]), images={'python:test': 'self'}))\n"
        "    spec = {'terminationGracePeriodSeconds': 1, 'containers': [{'name': 'main', 'image': 'python:test',\n"
        "            'command': ['sh', '-c', 'echo begun; exec sleep 1000']}]}\n"
        "    cluster.registry.create(PODS, {'metadata': {'name': 'lasting'}, 'spec': spec}, namespace='default')\n"
        "    while True:\n"
        "        await asyncio.sleep(0.02)\n"
        "        status = cluster.registry.get(PODS, 'default', 'lasting').get('status', {})\n"
        "        if any(c.get('ready') for c in status.get('containerStatuses', [])):\n"
        "            print('ready', flush=True)\n"
        "            await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    project = str(Path(__file__).resolve().parents[3])
    python = os.sys.executable  # type: ignore[attr-defined]
    child = await asyncio.create_subprocess_exec(
        python, "-c", program, str(data), project, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    async with asyncio.timeout(20):
        assert await child.stdout.readline() == b"ready\n"
    child.kill()
    await child.wait()

    world = await start()
    status = await world.until(lambda: world.status("lasting").get("ready") and world.status("lasting"))
    assert status["restartCount"] == 0
    assert len(processes_of(world)) == 1
    assert world.log("lasting") == "begun"
    world.cluster.registry.delete(PODS, "default", "lasting")
    await world.until(lambda: not processes_of(world))


async def test_a_restart_runs_the_same_pods_again_at_once(start: Starter) -> None:
    first = await start()
    first.deploy(deployment("web", replicas=2))
    address = first.expose(service("web"))["spec"]["clusterIP"]
    await first.until_available("web", replicas=2)
    names = {p["metadata"]["name"] for p in first.pods()}
    await first.cluster.close()
    assert not processes_of(first)

    second = await start()
    await second.until(lambda: len(ready_addresses(second, "web")) == 2, seconds=10)
    assert {p["metadata"]["name"] for p in second.pods()} == names
    assert {second.status(name)["restartCount"] for name in names} == {1}
    assert await http_get(address, 80) == "1"


async def test_a_second_cluster_on_the_same_directory_is_refused_in_one_sentence(start: Starter) -> None:
    await start()
    with pytest.raises(ClusterError, match=r"a cluster is already running in .* \(process \d+\)"):
        await start()


async def test_two_clusters_have_addresses_of_their_own(start: Starter) -> None:
    one, two = await start("one"), await start("two")
    assert one.cluster.block.number != two.cluster.block.number
    for each, answer in ((one, "1"), (two, "2")):
        each.deploy(deployment("web", answer=answer))
        each.expose(service("web"))
    for each, answer in ((one, "1"), (two, "2")):
        await each.until_available("web", replicas=1)
        await each.until(lambda each=each: ready_addresses(each, "web"))
        address = each.cluster.registry.get(SERVICES, "default", "web")["spec"]["clusterIP"]
        assert await http_get(address, 80) == answer


async def test_a_cluster_whose_addresses_were_taken_meanwhile_moves_to_others(start: Starter) -> None:
    first = await start("one")
    first.deploy(deployment("web"))
    node_port = {
        "type": "NodePort",
        "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
    }
    before = {name: first.expose(service(name, **more)) for name, more in (("web", {}), ("outside", node_port))}
    await first.until_available("web", replicas=1)
    await first.cluster.close()
    number = first.cluster.block.number
    with socket.create_server((f"127.{number}.0.1", 7016)):  # as another cluster claims it
        second = await start("one")
    assert second.cluster.block.number != number
    for name, old in before.items():
        new = second.cluster.registry.get(SERVICES, "default", name)
        assert new["metadata"]["uid"] == old["metadata"]["uid"]
        assert second.cluster.block.holds_service(new["spec"]["clusterIP"])
        assert new["spec"]["ports"] == old["spec"]["ports"]
        await second.until(lambda name=name: len(ready_addresses(second, name)) == 1)
        assert await http_get(new["spec"]["clusterIP"], 80) == "1"
    assert second.cluster.registry.get(SERVICES, "default", "kubernetes")["spec"]["clusterIP"] == (
        second.cluster.block.kubernetes_ip
    )
    assert not [each for each in second.cluster.registry.list(SERVICES) if "externalName" in each["spec"]]


async def test_fifty_pods_at_once_all_run_and_all_go(world: World) -> None:
    world.deploy({**deployment("many", replicas=50)})
    current = world.cluster.registry.get(DEPLOYMENTS, "default", "many")
    await world.until(lambda: len(world.pods()) == 50)
    await world.until_available("many", replicas=50)
    assert len({p["status"]["podIP"] for p in world.pods()}) == 50
    world.cluster.registry.delete(DEPLOYMENTS, "default", current["metadata"]["name"])
    await world.until(lambda: not world.pods() and not processes_of(world), seconds=30)


async def test_a_pod_deleted_while_its_container_is_being_started_leaves_no_process(world: World) -> None:
    world.run(pod("brief", container(SLEEP)))
    await world.until(lambda: "Created" in world.reasons("brief"))
    assert "Started" not in world.reasons("brief")
    world.cluster.registry.delete(PODS, "default", "brief", grace_seconds=0)
    await world.until(lambda: not list((world.cluster.data / "pods").iterdir()))
    assert processes_of(world) == []


async def test_a_namespace_takes_everything_in_it_along(world: World) -> None:
    registry = world.cluster.registry
    registry.create(NAMESPACES, {"metadata": {"name": "team"}})
    registry.create(CONFIG_MAPS, {"metadata": {"name": "kept"}, "data": {}}, namespace="team")
    registry.create(PODS, pod("busy", container(SLEEP)), namespace="team")
    await world.until(lambda: registry.get(PODS, "team", "busy").get("status", {}).get("phase") == "Running")
    registry.delete(NAMESPACES, None, "team")
    await world.until(lambda: registry.find(NAMESPACES, None, "team") is None)
    assert not registry.list(PODS, "team")
    assert not registry.list(CONFIG_MAPS, "team")


async def test_a_load_balancer_listens_on_loopback_and_a_taken_port_is_told_and_tried_again(world: World) -> None:
    world.deploy(deployment("web"))
    blocker = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = blocker.sockets[0].getsockname()[1]
    world.expose(service("web", type="LoadBalancer", ports=[{"name": "http", "port": port, "targetPort": "http"}]))
    await world.until_available("web", replicas=1)
    await world.until(lambda: "FailedToListen" in world.reasons("web"))
    blocker.close()
    await blocker.wait_closed()

    def ingress() -> object:
        return world.cluster.registry.get(SERVICES, "default", "web").get("status", {}).get("loadBalancer")

    await world.until(lambda: ingress() == {"ingress": [{"ip": "127.0.0.1", "ipMode": "VIP"}]})
    assert await http_get("127.0.0.1", port) == "1"


async def test_an_impossible_request_is_refused_in_the_schedulers_words_and_fits_once_there_is_room(
    start: Starter,
) -> None:
    world = await start(cpus=1)
    world.run(pod("first", container(SLEEP, resources={"requests": {"cpu": "700m"}})))
    await world.until_ready("first")
    world.run(pod("second", container(SLEEP, resources={"requests": {"cpu": "700m"}})))

    def refusal() -> str:
        conditions = (world.get("second").get("status") or {}).get("conditions") or ()
        return next((c.get("message", "") for c in conditions if c["type"] == "PodScheduled"), "")

    await world.until(refusal)
    assert refusal().startswith("0/1 nodes are available: 1 Insufficient cpu.")
    assert "FailedScheduling" in world.reasons("second")
    world.cluster.registry.delete(PODS, "default", "first")
    await world.until_ready("second")


async def test_a_claim_is_bound_at_once_and_its_files_outlive_the_pod(world: World) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    registry = world.cluster.registry
    registry.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "store"}, "spec": spec}, namespace="default")
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "store"}}]
    mounts = [{"name": "data", "mountPath": "/data"}]
    for name, command in (("writer", "echo kept > /data/file"), ("reader", "cat /data/file")):
        world.run(
            pod(name, container(["sh", "-c", command], volumeMounts=mounts), volumes=volumes, restartPolicy="Never")
        )
        await world.until(lambda name=name: world.get(name).get("status", {}).get("phase") == "Succeeded")
    assert world.log("reader") == "kept"


async def test_a_pod_without_isolation_sees_its_volumes_and_services_by_substitution(start: Starter) -> None:
    world = await start(isolation=NONE)
    registry = world.cluster.registry
    registry.create(
        SECRETS,
        {"metadata": {"name": "key"}, "stringData": {"word": "open"}, "data": {"word": "b3Blbg=="}},
        namespace="default",
    )
    address = world.expose(service("web"))["spec"]["clusterIP"]
    command = ["sh", "-c", 'cat /keys/word; echo; echo "$URL"; pwd']
    main = container(
        command,
        env=[{"name": "URL", "value": "http://web.default.svc:80/x"}],
        volumeMounts=[{"name": "key", "mountPath": "/keys"}],
    )
    world.run(pod("plain", main, volumes=[{"name": "key", "secret": {"secretName": "key"}}], restartPolicy="Never"))
    await world.until(lambda: world.get("plain").get("status", {}).get("phase") == "Succeeded")
    lines = world.log("plain").splitlines()
    assert lines[:2] == ["open", f"http://{address}:80/x"]

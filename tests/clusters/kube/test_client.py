"""The client against a real API server: verbs, errors in plain words, watches and logs."""

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from clusters.kube.client import Kube
from clusters.kube.connection import Connection
from clusters.kube.errors import Conflict, Invalid, KubeError, NotFound, Unauthorized, Unreachable
from clusters.kube.explain import RefusedAddressError
from clusters.kube.kinds import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, Obj
from clusters.kube.logs import follow
from clusters.kube.transport import refuse_address
from clusters.kube.watch import watch_forever
from routerd import contract
from tests.clusters.conftest import RunningCluster


def config_map(name: str, **data: str) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {"test": "client"}},
        "data": data,
    }


def until(true: Callable[[], bool], *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_applying_makes_changes_and_takes_back_what_is_left_out(kube: Kube) -> None:
    kube.apply(config_map("applied", a="1", b="2"))
    kube.apply(config_map("applied", a="3"))

    assert kube.get(CONFIG_MAPS, "applied", "default")["data"] == {"a": "3"}
    kube.delete(CONFIG_MAPS, "applied", "default")
    assert kube.find(CONFIG_MAPS, "applied", "default") is None
    kube.delete(CONFIG_MAPS, "applied", "default")


def test_a_dry_run_changes_nothing(kube: Kube) -> None:
    kube.apply(config_map("dry", a="1"), dry_run=True)

    assert kube.find(CONFIG_MAPS, "dry", "default") is None


def test_lists_are_narrowed_by_label_and_name_their_kind(kube: Kube) -> None:
    for n in range(3):
        kube.apply(config_map(f"listed-{n}"))

    found = kube.list(CONFIG_MAPS, "default", label_selector="test=client")

    assert {each["kind"] for each in found} == {"ConfigMap"}
    assert {f"listed-{n}" for n in range(3)} <= {each["metadata"]["name"] for each in found}
    for n in range(3):
        kube.delete(CONFIG_MAPS, f"listed-{n}", "default")


def test_long_lists_come_in_pages_without_a_gap(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusters.kube.client._PAGE", 2)
    names = {f"paged-{n}" for n in range(5)}
    for name in names:
        kube.apply(config_map(name))

    found = [each["metadata"]["name"] for each in kube.list(CONFIG_MAPS, "default", label_selector="test=client")]

    assert len(found) == len(set(found))
    assert names <= set(found)
    for name in names:
        kube.delete(CONFIG_MAPS, name, "default")


def test_errors_name_the_object_the_cause_and_the_next_step(kube: Kube) -> None:
    kube.apply(config_map("there"))

    with pytest.raises(NotFound, match=r"ConfigMap default/missing: .*not found\. "):
        kube.get(CONFIG_MAPS, "missing", "default")
    with pytest.raises(Conflict, match=r"ConfigMap default/there: .*already exists"):
        kube.create(config_map("there"))
    with pytest.raises(Invalid) as refused:
        kube.create(config_map("Not A Name"))
    assert refused.value.next_step
    kube.delete(CONFIG_MAPS, "there", "default")


def test_a_wrong_token_is_unauthorized(running_cluster: RunningCluster) -> None:
    kube = Kube(replace(running_cluster.connection, token="wrong"))

    with pytest.raises(Unauthorized):
        kube.list(NAMESPACES)
    kube.close()


def test_a_port_where_nobody_listens_is_told_in_plain_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    kube = Kube(Connection(server=f"https://127.0.0.1:{port}", token="x"))

    with pytest.raises(Unreachable) as caught:
        kube.version()
    assert caught.value.cause == f"https://127.0.0.1:{port} refuses connections: nothing listens there"


def test_a_certificate_nobody_vouches_for_is_told_in_plain_words(running_cluster: RunningCluster) -> None:
    kube = Kube(replace(running_cluster.connection, ca_data=""))

    with pytest.raises(Unreachable, match="shows a certificate that is not trusted"):
        kube.version()


def test_a_server_that_says_nothing_does_not_hold_us_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        kube = Kube(Connection(server=f"https://127.0.0.1:{server.getsockname()[1]}", token="x", insecure=True))
        with pytest.raises(Unreachable, match="did not answer in time"):
            kube.pod_proxy("default", "p", 80, "/", timeout=0.3)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "0.0.0.0", "224.0.0.1", "fe80::1%eth0", "::ffff:169.254.169.254"]
)
def test_addresses_of_metadata_services_are_never_connected_to(address: str) -> None:
    with pytest.raises(RefusedAddressError):
        refuse_address(address)


@pytest.mark.parametrize("address", ["10.4.0.10", "127.0.0.1", "192.168.1.1", "8.8.8.8", "fd12::1"])
def test_addresses_of_clusters_are_connected_to(address: str) -> None:
    refuse_address(address)


def test_the_check_is_made_on_the_connected_address(monkeypatch: pytest.MonkeyPatch, kube: Kube) -> None:
    monkeypatch.setattr("clusters.kube.transport._NEVER", (ipaddress.ip_network("127.0.0.0/8"),))

    with pytest.raises(Unreachable, match="never connects to"):
        kube.version()


class Watcher:
    """A watch in a thread, and what it was told."""

    def __init__(self, kube: Kube) -> None:
        self.table: dict[str, Obj] = {}
        self.states: list[bool] = []
        self.synced = threading.Event()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(kube,))
        self.thread.start()

    def _run(self, kube: Kube) -> None:
        watch_forever(
            kube,
            CONFIG_MAPS,
            "default",
            on_sync=self._sync,
            on_change=self._change,
            on_state=lambda connected, _: self.states.append(connected),
            stop=self.stop,
            label_selector="test=client",
        )

    def _sync(self, objects: list[Obj]) -> None:
        self.table = {each["metadata"]["name"]: each for each in objects}
        self.synced.set()

    def _change(self, kind: str, obj: Obj) -> None:
        if kind == "DELETED":
            self.table.pop(obj["metadata"]["name"], None)
        else:
            self.table[obj["metadata"]["name"]] = obj


@pytest.fixture
def watcher(kube: Kube) -> Iterator[Watcher]:
    found = Watcher(kube)
    assert found.synced.wait(10)
    yield found
    found.stop.set()
    found.thread.join(5)
    assert not found.thread.is_alive()


def test_a_watch_keeps_a_table_true(kube: Kube, watcher: Watcher) -> None:
    kube.apply(config_map("watched", a="1"))
    until(lambda: "watched" in watcher.table)
    kube.apply(config_map("watched", a="2"))
    until(lambda: watcher.table["watched"]["data"] == {"a": "2"})
    kube.delete(CONFIG_MAPS, "watched", "default")
    until(lambda: "watched" not in watcher.table)
    assert watcher.states == [True]


def test_a_quiet_watch_ends_at_once_when_told_to(kube: Kube) -> None:
    watcher = Watcher(kube)
    assert watcher.synced.wait(10)
    began = time.monotonic()

    watcher.stop.set()
    watcher.thread.join(5)

    assert not watcher.thread.is_alive()
    assert time.monotonic() - began < 1.5


def test_an_unreachable_server_is_told_once_and_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    told: list[tuple[bool, KubeError | None]] = []
    stop = threading.Event()
    thread = threading.Thread(
        target=watch_forever,
        args=(Kube(Connection(server=f"https://127.0.0.1:{port}", token="x")), PODS, None),
        kwargs={
            "on_sync": lambda _: None,
            "on_change": lambda *_: None,
            "on_state": lambda connected, error: told.append((connected, error)),
            "stop": stop,
        },
    )
    thread.start()
    until(lambda: bool(told))
    stop.wait(1.5)
    stop.set()
    thread.join(20)
    assert [connected for connected, _ in told] == [False]


def pod(name: str, script: str) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "main",
                    "image": contract.EMBEDDED_SLIPWAY_IMAGE,
                    "command": ["python", "-u", "-c", script],
                    "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}},
                }
            ],
        },
    }


def test_a_log_is_followed_to_its_end_line_by_line(kube: Kube) -> None:
    script = "import time\nfor n in range(60):\n    print('line', n)\n    time.sleep(0.02)\n"
    kube.create(pod("talker", script))

    lines = list(follow(kube, "default", "talker", "main", stop=threading.Event()))

    assert [text for _, text in lines] == [f"line {n}" for n in range(60)]
    kube.delete(PODS, "talker", "default", grace_seconds=0)


def test_a_reader_that_comes_back_gets_every_line_once(kube: Kube, running_cluster: RunningCluster) -> None:
    script = "import time\nfor n in range(150):\n    print('line', n)\n    time.sleep(0.02)\n"
    kube.create(pod("long-talker", script))
    other = Kube(running_cluster.connection)
    breaker = threading.Thread(target=break_streams, args=(other,))
    breaker.start()

    lines = list(follow(other, "default", "long-talker", "main", stop=threading.Event()))

    breaker.join()
    assert [text for _, text in lines] == [f"line {n}" for n in range(150)]
    other.close()
    kube.delete(PODS, "long-talker", "default", grace_seconds=0)


def break_streams(kube: Kube) -> None:
    """Cut the way several times, as a load balancer does."""
    for _ in range(3):
        time.sleep(1.1)
        kube._transport._streams.interrupt_all()


def test_a_log_of_a_pod_that_is_not_there_is_empty(kube: Kube) -> None:
    assert list(follow(kube, "default", "nobody", "main", stop=threading.Event())) == []


def test_the_replicas_of_a_workload_are_set_through_its_scale(kube: Kube) -> None:
    template = pod("x", "pass")["spec"] | {"restartPolicy": "Always"}
    labels = {"app": "scaled"}
    workload: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "scaled", "namespace": "default"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template},
        },
    }
    kube.apply(workload)
    kube.patch_scale("default", "scaled", 1, manager="routerd")

    found = kube.get(DEPLOYMENTS, "scaled", "default")
    assert found["spec"]["replicas"] == 1
    kube.delete(DEPLOYMENTS, "scaled", "default")

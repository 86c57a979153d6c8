"""The cluster under test: the one of SLIPWAY_TEST_KUBECONFIG, or an embedded one started for the run.

SLIPWAY_TEST_IMAGE names an image that has `sh` and `python3`. Every test works in a namespace of its own, which is
removed afterwards. `@pytest.mark.needs("create", "nodes")` skips a test, by name, for a user who may not.

The embedded cluster has three nodes, and faults on demand. On a real one, SLIPWAY_TEST_STOP_NODE and
SLIPWAY_TEST_START_NODE are shell commands that end and start the node $NODE (`docker stop $NODE` for kind); without
them nothing is done to nodes that others would notice.
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client as official
from kubernetes import config as official_config

from tests.conformance.world import Caller, Obj, Place

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED_IMAGE = "slipway.local/slipway:embedded"
REAL_IMAGE = "docker.io/library/python:3.11-alpine"
START_SECONDS = 30
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(verb, resource): skipped where the kubeconfig's user may not do this")


@dataclass
class Cluster:
    """A cluster, and the user of the kubeconfig."""

    kubeconfig: Path
    image: str
    admin: Caller
    embedded: bool
    stop_command: str = ""
    start_command: str = ""
    namespaces: list[str] = field(default_factory=list)

    def caller(self, *, token: str = "", certificate: tuple[Path, Path] | None = None) -> Caller:
        """Somebody else: a token's owner, a certificate's, or nobody."""
        own, other = self.admin.configuration, official.Configuration()
        other.host, other.ssl_ca_cert, other.verify_ssl = own.host, own.ssl_ca_cert, own.verify_ssl
        if token:
            other.api_key, other.api_key_prefix = {"authorization": token}, {"authorization": "Bearer"}
        if certificate:
            other.cert_file, other.key_file = map(str, certificate)
        return Caller(other)

    def open_namespace(self, **metadata: Any) -> Place:
        """A new one, ready for pods."""
        name = f"slipway-conformance-{uuid.uuid4().hex[:8]}"
        self.admin.create("/api/v1/namespaces", {"metadata": {"name": name, **metadata}})
        self.namespaces.append(name)
        self.admin.until(f"/api/v1/namespaces/{name}/serviceaccounts/default", bool)
        return Place(name, self.admin, self.image)

    def nodes(self) -> list[Obj]:
        found: list[Obj] = self.admin.get("/api/v1/nodes")["items"]
        return found

    @property
    def may_disturb_nodes(self) -> bool:
        return self.embedded or bool(self.stop_command and self.start_command)

    def stop_node(self, name: str) -> None:
        self._power(name, self.stop_command, {"lostNodes": [name]})

    def start_node(self, name: str) -> None:
        self._power(name, self.start_command, {"lostNodes": []})

    def _power(self, name: str, command: str, faults: Obj) -> None:
        if self.embedded:
            self.admin.patch("/faults", faults, kind="application/json")
        else:
            subprocess.run(command, shell=True, check=True, timeout=120, env={**os.environ, "NODE": name})  # noqa: S602

    def compact(self) -> None:
        """Let the cluster forget what was before."""
        if not self.embedded:
            pytest.skip("needs a cluster that forgets its history on demand")
        self.admin.create("/faults/compact", {})


class EmbeddedCluster:
    """`python -m clusters.embedded` in a process of its own, which can be started again."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.kubeconfig = data / "kubeconfig"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        image = f"{EMBEDDED_IMAGE}=self"
        arguments = ["--data", str(self.data), "--image", image, "--cpus", "8", "--memory", str(16 << 30)]
        arguments += ["--nodes", "3", "--node-grace", "10", "--faults"]
        with (self.data.parent / f"{self.data.name}.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "clusters.embedded", *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
            )
        assert self.process.stdout is not None
        timer = threading.Timer(START_SECONDS, self.process.kill)
        timer.start()
        ready = self.process.stdout.readline()
        timer.cancel()
        assert ready, f"the embedded cluster did not start: {log.name}"

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(30)
        if self.process.stdout:
            self.process.stdout.close()
        self.process = None


def connect(kubeconfig: Path) -> Caller:
    configuration = official.Configuration()
    official_config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    return Caller(configuration)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    given, image = os.environ.get("SLIPWAY_TEST_KUBECONFIG"), os.environ.get("SLIPWAY_TEST_IMAGE")
    if given:
        found = Cluster(
            Path(given),
            image or REAL_IMAGE,
            connect(Path(given)),
            embedded=False,
            stop_command=os.environ.get("SLIPWAY_TEST_STOP_NODE", ""),
            start_command=os.environ.get("SLIPWAY_TEST_START_NODE", ""),
        )
        yield found
        _remove(found)
        return
    own = EmbeddedCluster(tmp_path_factory.mktemp("conformance") / "data")
    own.data.mkdir()
    own.start()
    found = Cluster(own.kubeconfig, image or EMBEDDED_IMAGE, connect(own.kubeconfig), embedded=True)
    try:
        yield found
        _remove(found)
    finally:
        own.stop()


def _remove(cluster: Cluster) -> None:
    """Nothing of ours stays; what a test left deleting is waited for."""
    for name in cluster.namespaces:
        cluster.admin.until_gone(f"/api/v1/namespaces/{name}", seconds=60)


@pytest.fixture
def restartable(cluster: Cluster) -> Iterator[EmbeddedCluster]:
    """An embedded cluster that a test may end."""
    if not cluster.embedded:
        pytest.skip("needs a cluster that can be stopped and started")
    with tempfile.TemporaryDirectory() as directory:
        own = EmbeddedCluster(Path(directory) / "data")
        own.data.mkdir()
        own.start()
        yield own
        own.stop()


@pytest.fixture(autouse=True)
def _rights(request: pytest.FixtureRequest, cluster: Cluster) -> None:
    for marker in request.node.iter_markers("needs"):
        verb, resource = marker.args
        if not cluster.admin.may(verb, resource):
            pytest.skip(f"needs the right to {verb} {resource}")


@pytest.fixture
def place(cluster: Cluster) -> Iterator[Place]:
    """A namespace of the test's own."""
    if not cluster.admin.may("create", "namespaces"):
        pytest.skip("needs the right to create namespaces")
    made = cluster.open_namespace()
    yield made
    cluster.admin.ask("DELETE", f"/api/v1/namespaces/{made.name}")


AccountMaker = Callable[..., Caller]


@pytest.fixture
def account(cluster: Cluster, place: Place) -> AccountMaker:
    """Makes a ServiceAccount that has exactly these rules in the namespace, and speaks as it."""

    def make(name: str, *rules: Obj) -> Caller:
        cluster.admin.create(place.path("serviceaccounts"), {"metadata": {"name": name}})
        if rules:
            role = {"metadata": {"name": name}, "rules": list(rules)}
            cluster.admin.create(place.path("rbac.authorization.k8s.io/v1/roles"), role)
            bind(cluster.admin, place, name, kind="Role", role=name)
        asked = {"spec": {"expirationSeconds": 600}}
        token = cluster.admin.create(place.path("serviceaccounts", f"{name}/token"), asked)["status"]["token"]
        return cluster.caller(token=token)

    return make


def bind(admin: Caller, place: Place, account: str, *, kind: str, role: str) -> None:
    subject = {"kind": "ServiceAccount", "name": account, "namespace": place.name}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
    body = {"metadata": {"name": f"{account}-{role}"}, "subjects": [subject], "roleRef": reference}
    admin.create(place.path("rbac.authorization.k8s.io/v1/rolebindings"), body)


Kubectl = Callable[..., str]


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path) -> Kubectl:
    """Runs kubectl with the cluster's kubeconfig: its output and errors; asserts the exit code."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not on the PATH")

    def run(*words: str, text: str | Obj = "", code: int = 0, seconds: float = 60) -> str:
        done = subprocess.run(
            [program, f"--kubeconfig={cluster.kubeconfig}", "--cache-dir", str(tmp_path / "cache"), *words],
            input=text if isinstance(text, str) else json.dumps(text),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    return run


def encoded(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return base64.b64encode(raw).decode()

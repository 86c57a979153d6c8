"""A real cluster for the tests of this folder: one embedded cluster a run, in a process of its own."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clusters.kube.client import Kube
from clusters.kube.connection import Connection, parse_kubeconfig
from clusters.models import Cluster
from clusters.services import attach_cluster
from clusters.tasks import attach as attach_task
from routerd import contract
from studio.actor import SLIPWAY
from studio.models import Workspace

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class RunningCluster:
    """An embedded cluster: `kubeconfig` is the text a person would paste."""

    kubeconfig: str
    connection: Connection
    process: subprocess.Popen[str]


def start_cluster(data: Path, *, builds: bool = False) -> RunningCluster:
    """Start one, perhaps one that can build environments, and wait for its ready line."""
    log = (data / "log").open("w")
    images = [contract.EMBEDDED_SLIPWAY_IMAGE, *([contract.EMBEDDED_BUILDER_IMAGE] if builds else [])]
    arguments = [
        "--data",
        str(data),
        "--port",
        "0",
        *(part for image in images for part in ("--image", f"{image}=self")),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "clusters.embedded", *arguments, "--cpus", "8", "--memory", str(16 << 30)],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    timer = threading.Timer(30, process.kill)
    timer.start()
    line = process.stdout.readline()
    timer.cancel()
    log.close()
    if not line:
        raise RuntimeError(f"The embedded cluster did not start:\n{(data / 'log').read_text()}")
    kubeconfig = Path(json.loads(line)["kubeconfig"]).read_text()
    return RunningCluster(kubeconfig=kubeconfig, connection=parse_kubeconfig(kubeconfig), process=process)


def stop_cluster(cluster: RunningCluster) -> None:
    cluster.process.terminate()
    cluster.process.wait(30)
    if cluster.process.stdout:
        cluster.process.stdout.close()


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """The cluster all tests share; they keep to names of their own."""
    cluster = start_cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    stop_cluster(cluster)


@pytest.fixture
def kube(running_cluster: RunningCluster) -> Iterator[Kube]:
    """The way to it."""
    found = Kube(running_cluster.connection)
    yield found
    found.close()


@pytest.fixture
def attached(workspace: Workspace, running_cluster: RunningCluster) -> Cluster:
    """It, attached to the workspace harbour as quay, every check passed."""
    cluster, operation = attach_cluster(
        workspace, name="quay", kubeconfig_text=running_cluster.kubeconfig, context=None, actor=SLIPWAY
    )
    attach_task.advance(str(operation.pk))
    cluster.refresh_from_db()
    return cluster

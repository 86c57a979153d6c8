"""The whole way for rollouts: an embedded cluster with a router in it, a real worker and the real watcher.

One cluster serves all tests of this folder; the database is emptied between them, so each attaches it again under a
workspace of its own and uses a namespace of its own.
"""

import io
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from clusters.install.settings import RouterSettings
from clusters.models import Cluster, ComputeTarget, RouterState
from clusters.services import attach_cluster, create_target, install_router
from deployments.models import Deployment, Endpoint
from deployments.services import create_endpoint, deploy, pack_code, register_environment, register_model
from deployments.specs import DeploymentSpec, EndpointSpec, parse_deployment
from deployments.watch import run_watcher
from studio.actor import SLIPWAY
from studio.models import Installation, Operation, Workspace
from studio.up.ports import pick_free
from tests.clusters.conftest import RunningCluster, start_cluster, stop_cluster

GOOD = b"""
import os

def init():
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "greeting.txt")) as file:
        global greeting
        greeting = file.read()
    print("init() has read the model")

def run(raw):
    return greeting + " " + raw
"""
_STUDIO = uuid.UUID("11111111-2222-4333-8444-555555555555")  # the router in the cluster belongs to one studio
_SECRETS = ("admin_token", "artifacts_upload_token", "artifacts_signing_key")
_namespaces = itertools.count(1)


def wait_until(condition: Callable[[], Any], *, seconds: float = 60, what: str = "it") -> Any:
    """The first true value of `condition`; fails with its last one after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}: {found!r}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def rollout_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """An embedded cluster of its own."""
    cluster = start_cluster(tmp_path_factory.mktemp("rollouts"), builds=True)
    yield cluster
    stop_cluster(cluster)


@pytest.fixture(scope="session")
def router_port() -> int:
    """Where the router listens for callers, all session long."""
    return pick_free()


@pytest.fixture(scope="session")
def router_secrets() -> dict[str, str]:
    """What the router and the studio share; filled by the first installation."""
    return {}


class RunningWatcher:
    """The watcher in a thread, as the studio runs it; it can be ended and started again."""

    def start(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=run_watcher, args=(self._stop,), name="watcher")
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def watcher(celery_worker: Any) -> Iterator[RunningWatcher]:
    """A watcher that runs."""
    running = RunningWatcher()
    running.start()
    yield running
    running.end()
    connections.close_all()


class Studio:
    """What a data scientist does, in a few words."""

    def __init__(self, workspace: Workspace, *, target: ComputeTarget, port: int) -> None:
        self.workspace, self.target, self.port = workspace, target, port

    def endpoint(self, name: str) -> Endpoint:
        spec = EndpointSpec(name=name, compute=self.target.name)
        return create_endpoint(self.workspace, spec=spec, target=self.target, actor=SLIPWAY)

    def spec(self, endpoint: Endpoint, *, name: str = "blue", script: bytes = GOOD, **more: Any) -> DeploymentSpec:
        """A spec with a model that says hello and an environment with nothing but the scoring server."""
        code = pack_code(self.workspace, files=[("score.py", io.BytesIO(script))], actor=SLIPWAY)
        if not self.workspace.models.exists():
            files = [("greeting.txt", io.BytesIO(b"hello"))]
            register_model(self.workspace, name="greeter", files=files, actor=SLIPWAY)
            register_environment(self.workspace, name="bare", actor=SLIPWAY)
        asked = {
            "name": name,
            "endpoint_name": endpoint.name,
            "model": "greeter:1",
            "environment": "bare:1",
            "code_configuration": {"scoring_script": "score.py"},
        }
        return parse_deployment(asked | more, code_digest=code.digest)

    def deploy(self, endpoint: Endpoint, **more: Any) -> tuple[Deployment, Operation]:
        return deploy(endpoint, spec=self.spec(endpoint, **more), actor=SLIPWAY)

    def finished(self, operation: Operation, *, seconds: float = 90) -> Operation:
        """The Operation once it has ended."""

        def look() -> bool:
            operation.refresh_from_db()
            return operation.finished

        try:
            wait_until(look, seconds=seconds, what=operation.title)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{told(operation)}") from error
        return operation


def told(operation: Operation) -> str:
    """All an Operation says, for a failing test."""
    steps = [f"  {step.name}: {step.state} {step.detail}" for step in operation.steps.all()]
    lines = [f"  | {line.source} {line.text}" for line in operation.log.lines.all()]
    said = f"{operation.title}: {operation.state}. {operation.summary} [{operation.cause_name}] {operation.cause_proof}"
    return "\n".join([said, *steps, *lines])


@pytest.fixture
def studio(
    workspace: Workspace,
    rollout_cluster: RunningCluster,
    router_port: int,
    router_secrets: dict[str, str],
    watcher: RunningWatcher,
    settings: Any,
    tmp_path: Path,
) -> Studio:
    """A workspace with the cluster attached, the router ready, and a compute target."""
    settings.MEDIA_ROOT = tmp_path
    Installation.objects.create(pk=_STUDIO)
    cluster, operation = attach_cluster(
        workspace, name="quay", kubeconfig_text=rollout_cluster.kubeconfig, context=None, actor=SLIPWAY
    )
    wait_until(lambda: Operation.objects.get(pk=operation.pk).finished, what="attaching")
    for name, value in router_secrets.items():
        setattr(cluster, name, value)
    cluster.save(update_fields=_SECRETS)
    cluster.refresh_from_db()
    installed = install_router(cluster, settings=RouterSettings(port=router_port), actor=SLIPWAY)
    wait_until(lambda: Operation.objects.get(pk=installed.pk).finished, what="the router")
    installed.refresh_from_db()
    assert installed.state == "succeeded", told(installed)
    cluster.refresh_from_db()
    router_secrets |= {name: getattr(cluster, name) for name in _SECRETS}
    namespace = f"team-{next(_namespaces)}"
    target = create_target(
        workspace,
        cluster=Cluster.objects.get(pk=cluster.pk),
        name="team",
        namespace=namespace,
        create_namespace=True,
        actor=SLIPWAY,
    )
    assert Cluster.objects.get(pk=cluster.pk).router_state == RouterState.READY
    return Studio(workspace, target=target, port=router_port)

"""The first run: what a newcomer would click, done through the same services a click calls.

Every step says "there shall be ..." and does nothing when it is there already, so an interrupted first run simply goes
on at the next start. When the sample has answered once, HOME/first-run.json remembers it: from then on nothing is made
again, also if someone deleted it since.
"""

import json
import threading
import time
from io import BytesIO
from pathlib import Path

import httpx
import yaml
from django.db import connection

from clusters.install.settings import RouterSettings
from clusters.models import Cluster, ComputeTarget, InstanceType, RouterState
from clusters.services import attach_cluster, create_instance_type, create_target, install_router
from deployments.models import Deployment, Endpoint, Environment, Model
from deployments.services import create_endpoint, deploy, pack_code, register_environment, register_model
from deployments.specs import parse_deployment, parse_endpoint
from studio.actor import SLIPWAY
from studio.errors import SlipwayError
from studio.models import UNFINISHED, Operation, OperationState, Workspace
from studio.up.cluster import ClusterProcess
from studio.up.errors import CannotStartError
from studio.up.prepare import CLUSTER, WORKSPACE
from studio.up.report import Answering, Report
from studio.up.training import Training

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "iris"
TARGET = "local"
NAMESPACE = "models"
ENVIRONMENT = "sklearn"
SIZES = {
    "small": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
    "medium": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}},
}


class FirstRun:
    """Attach, install, register, deploy, score."""

    def __init__(self, home: Path, *, cluster: ClusterProcess, router_port: int, report: Report) -> None:
        self._home = home
        self._cluster = cluster
        self._router_port = router_port
        self._report = report
        self._marker = home / "first-run.json"
        self._training = Training(SAMPLE, out=home / "sample", cache=cluster.package_cache, report=report)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="first-run", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Give up waiting: the studio is ending."""
        self._stopped.set()
        self._training.stop()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def _work(self) -> None:
        try:
            if self._marker.exists():
                self.ask_again()
            else:
                self.run()
        except (CannotStartError, SlipwayError) as error:
            if not self._stopped.is_set():
                self._report.trouble(f"{error} The studio goes on; look at its Operations page.")
        finally:
            connection.close()

    def run(self) -> None:
        """Do what is still missing, then ask the sample once. CannotStartError names the Operation that failed."""
        started = time.monotonic()
        workspace = Workspace.objects.get(name=WORKSPACE)
        self._training.start()
        cluster = self._attach(workspace)
        self._install_router(cluster)
        target = self._make_target(workspace, cluster=cluster)
        environment = self._register_environment(workspace)
        model = self._register_model(workspace, files=self._training.wait())
        endpoint = self._create_endpoint(workspace, target=target)
        self._deploy(endpoint, model=model, environment=environment)
        self._report.answering(self._ask(endpoint, since=started))
        self._marker.write_text(json.dumps({"endpoint": endpoint.name, "workspace": workspace.name}))

    def ask_again(self) -> None:
        """At a later start: wait until the sample answers, if it is still there."""
        started = time.monotonic()
        written = json.loads(self._marker.read_text())
        found = Endpoint.objects.filter(workspace__name=written["workspace"], name=written["endpoint"], deleting=False)
        if endpoint := found.first():
            self._report.answering(self._ask(endpoint, since=started))

    # --- one "there shall be" each ----------------------------------------------------------------

    def _attach(self, workspace: Workspace) -> Cluster:
        if found := workspace.clusters.filter(name=CLUSTER).first():
            self._finish_unfinished(found, kind="cluster")
            return found
        self._report.step("Attaching the embedded cluster as local")
        cluster, operation = attach_cluster(
            workspace, name=CLUSTER, kubeconfig_text=self._cluster.kubeconfig.read_text(), context=None, actor=SLIPWAY
        )
        self._wait(operation)
        cluster.refresh_from_db()
        return cluster

    def _install_router(self, cluster: Cluster) -> None:
        if cluster.router_state == RouterState.READY:
            return
        self._report.step("Installing the router")
        settings = RouterSettings(service_type="LoadBalancer", port=self._router_port)
        self._wait(
            self._unfinished(cluster, kind="cluster") or install_router(cluster, settings=settings, actor=SLIPWAY)
        )
        cluster.refresh_from_db()

    def _make_target(self, workspace: Workspace, *, cluster: Cluster) -> ComputeTarget:
        for name, resources in SIZES.items():
            if not InstanceType.objects.filter(cluster=cluster, name=name).exists():
                create_instance_type(
                    cluster, name=name, requests=resources["requests"], limits=resources["limits"], actor=SLIPWAY
                )
        if found := workspace.compute_targets.filter(name=TARGET).first():
            return found
        self._report.step("Making the compute target and the instance types")
        return create_target(
            workspace, cluster=cluster, name=TARGET, namespace=NAMESPACE, create_namespace=True, actor=SLIPWAY
        )

    def _register_environment(self, workspace: Workspace) -> Environment:
        found = workspace.environments.filter(name=ENVIRONMENT).first()
        return found or register_environment(
            workspace,
            name=ENVIRONMENT,
            requirements=(SAMPLE / "requirements.txt").read_text(),
            image="",
            python_version="3.11",
            actor=SLIPWAY,
        )

    def _register_model(self, workspace: Workspace, *, files: list[Path]) -> Model:
        if found := workspace.models.filter(name="iris").first():
            return found
        self._report.step("Registering the model")
        return register_model(
            workspace,
            name="iris",
            files=[(path.name, BytesIO(path.read_bytes())) for path in files],
            description="Fisher's irises, trained on this machine by samples/iris/train.py.",
            tags={},
            actor=SLIPWAY,
        )

    def _create_endpoint(self, workspace: Workspace, *, target: ComputeTarget) -> Endpoint:
        written = read_yaml(SAMPLE / "endpoint.yml")
        if found := workspace.endpoints.filter(name=written["name"]).first():
            return found
        return create_endpoint(workspace, spec=parse_endpoint(written), target=target, actor=SLIPWAY)

    def _deploy(self, endpoint: Endpoint, *, model: Model, environment: Environment) -> None:
        if found := Deployment.objects.filter(endpoint=endpoint).first():
            if operation := self._unfinished(found, kind="deployment"):
                self._report.step("Going on with the deployment of iris")
                self._wait(operation)
                return
            if found.revisions.filter(succeeded=True).exists():
                return
        self._report.step("Building the environment and deploying iris (its log: the Operations page)")
        files = [(name, BytesIO((SAMPLE / name).read_bytes())) for name in ("score.py", "sample-request.json")]
        code = pack_code(endpoint.workspace, files=files, actor=SLIPWAY)
        registered = {"model": f"azureml:{model}", "environment": f"azureml:{environment}"}
        spec = parse_deployment(read_yaml(SAMPLE / "deployment.yml") | registered, code_digest=code.digest)
        _, operation = deploy(endpoint, spec=spec, actor=SLIPWAY)
        self._wait(operation)

    def _ask(self, endpoint: Endpoint, *, since: float) -> Answering:
        request = (SAMPLE / "sample-request.json").read_text().strip()
        key = endpoint.keys.get(name="primary").value
        uri = f"{endpoint.target.cluster.router_address}/api/v1/endpoint/{endpoint.name}/score"
        status, prediction = self._until_answered(uri, key=key, request=request)
        return Answering(
            scoring_uri=uri,
            key=key,
            request=request,
            status=status,
            prediction=prediction,
            deploy_seconds=round(time.monotonic() - since, 1),
        )

    def _until_answered(self, uri: str, *, key: str, request: str) -> tuple[int, object]:
        """Ask as a caller would, until a 200 comes: at a restart the model needs a moment to load."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        end = time.monotonic() + 60
        while True:
            status, body = post(uri, headers=headers, body=request)
            if status == 200:
                return status, json.loads(body)
            if time.monotonic() > end or self._stopped.is_set():
                raise CannotStartError(f"The sample endpoint iris does not answer: {status} {body[:200]}")
            self._stopped.wait(0.1)

    # --- waiting for Operations ---------------------------------------------------------------------

    def _unfinished(self, subject: Cluster | Deployment, *, kind: str) -> Operation | None:
        found = Operation.objects.filter(subject_kind=kind, subject_id=str(subject.pk), state__in=UNFINISHED)
        return found.order_by("created_at").first()

    def _finish_unfinished(self, subject: Cluster | Deployment, *, kind: str) -> None:
        if operation := self._unfinished(subject, kind=kind):
            self._wait(operation)

    def _wait(self, operation: Operation) -> None:
        """Follow an Operation to its end, telling its sentences as they change."""
        told = ""
        while not operation.finished:
            if self._stopped.wait(0.1):
                raise CannotStartError("Stopped before the sample was ready; make up goes on with it.")
            operation.refresh_from_db()
            if operation.summary not in ("", told):
                told = operation.summary
                self._report.step(f"  {told}")
        if operation.state != OperationState.SUCCEEDED:
            fixes = " ".join(fix["text"] for fix in operation.cause_fixes[:1])
            raise CannotStartError(
                f"{operation.title} ended as {operation.state}: {operation.cause_name} {operation.cause_text} {fixes}"
            )


def read_yaml(path: Path) -> dict[str, object]:
    """A YAML file of the sample, without the key that names its schema."""
    written: dict[str, object] = yaml.safe_load(path.read_text())
    written.pop("$schema", None)
    return written


def post(uri: str, *, headers: dict[str, str], body: str) -> tuple[int, str]:
    """(status, body); status 0 and the reason when nobody answers."""
    try:
        answer = httpx.post(uri, headers=headers, content=body, timeout=10)
    except httpx.HTTPError as error:
        return 0, str(error)
    return answer.status_code, answer.text

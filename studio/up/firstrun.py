"""The first run: what a newcomer would click, done through the same services a click calls.

Every step says "there shall be ..." and does nothing when it is there already, so an interrupted first run simply goes
on at the next start.
"""

import threading
from io import BytesIO
from pathlib import Path

import yaml

from clusters.install.settings import RouterSettings
from clusters.models import Cluster, ComputeTarget, InstanceType, RouterState
from clusters.services import attach_cluster, create_instance_type, create_target, install_router
from deployments.models import Deployment, Endpoint, Environment, Model
from deployments.services import create_endpoint, deploy, pack_code, register_environment, register_model
from deployments.specs import parse_deployment, parse_endpoint
from studio.actor import SLIPWAY
from studio.models import UNFINISHED, Operation, OperationState, Workspace
from studio.up.cluster import ClusterProcess
from studio.up.errors import CannotStartError
from studio.up.prepare import CLUSTER, WORKSPACE
from studio.up.report import Report
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
    """Attach, install, register, deploy."""

    def __init__(
        self, home: Path, *, cluster: ClusterProcess, router_port: int, report: Report, stopped: threading.Event
    ) -> None:
        self._cluster = cluster
        self._router_port = router_port
        self._report = report
        self._stopped = stopped
        self._training = Training(SAMPLE, out=home / "sample", cache=cluster.package_cache, report=report)

    def stop(self) -> None:
        """End what would keep `run` waiting, once `stopped` is set."""
        self._training.stop()

    def run(self) -> Endpoint:
        """Do what is still missing; the sample's endpoint. CannotStartError names the Operation that failed."""
        workspace = Workspace.objects.get(name=WORKSPACE)
        self._training.start()
        cluster = self._attach(workspace)
        self._install_router(cluster)
        target = self._make_target(workspace, cluster=cluster)
        environment = self._register_environment(workspace)
        model = self._register_model(workspace, files=self._training.wait())
        endpoint = self._create_endpoint(workspace, target=target)
        self._deploy(endpoint, model=model, environment=environment)
        return endpoint

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

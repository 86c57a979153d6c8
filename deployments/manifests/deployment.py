"""One deployment as Kubernetes objects.

    ServiceAccount   without rights, without a token in the pod
    Secret           lets the pod's init container download exactly its own artifacts
    Deployment       the workload: init container `storage` fetches, container `server` answers
    Service          its EndpointSlices are what the routers read
    NetworkPolicy    only routers may call a replica
    PodDisruptionBudget  nodes are drained one replica at a time

The pod template names model and code by digest only: it means the same in a year, and an unchanged deployment gives an
unchanged template, so nothing rolls out. `replicas` is written only when the workload is made or the number is fixed;
afterwards routerd owns it.

Probes: the startup probe asks GET / every second, which the server answers once init() has returned. Afterwards only
TCP is asked, because the one worker that computes also answers GET /, and a busy replica is not a dead one.
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from deployments.manifests.labels import Obj, labels_of, pod_selector
from deployments.specs import DeploymentSpec, Probe
from routerd import contract

APP_ROOT: Final = "/var/azureml-app"
CODE_DIR: Final = f"{APP_ROOT}/code"
MODELS_DIR: Final = f"{APP_ROOT}/azureml-models"
USER_ID: Final = 10001
TOKEN_KEY: Final = "token"  # noqa: S105  the name of a key in a Secret
ROLLOUT_SECONDS: Final = 20 * 60
DRAIN_SECONDS: Final = 5  # a pod goes on answering while the routers hear that it leaves
WORKER_TIMEOUT: Final = 300  # what the scoring server's own command uses; init() has to be done in it


@dataclass(frozen=True)
class Placement:
    """Where and from what a deployment runs: everything the spec does not say."""

    studio: str
    namespace: str
    revision: int
    image: str
    slipway_image: str  # carries `python -m routerd.artifacts`
    download_token: str = field(repr=False)
    model_digest: str = ""
    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    artifacts_url: str = f"http://{contract.ARTIFACTS}.{contract.SYSTEM_NAMESPACE}.svc:{contract.ARTIFACTS_PORT}"


def deployment_objects(spec: DeploymentSpec, *, placement: Placement, replicas: int | None) -> list[Obj]:
    """All objects of one deployment, in the order to apply. `replicas` None leaves the count to its owner."""
    return [
        _service_account(spec, placement),
        _secret(spec, placement),
        _workload(spec, placement, replicas=replicas),
        _service(spec, placement),
        _network_policy(spec, placement),
        _disruption_budget(spec, placement),
    ]


def name_of(spec: DeploymentSpec) -> str:
    """The name all objects of a deployment share."""
    return contract.workload_name(endpoint=spec.endpoint_name, deployment=spec.name)


def model_dir(spec: DeploymentSpec) -> str:
    """Where the model's files are: AZUREML_MODEL_DIR."""
    name, _, version = (spec.model or "").partition(":")
    return f"{MODELS_DIR}/{name}/{version}"


def _metadata(spec: DeploymentSpec, placement: Placement) -> Obj:
    return {
        "name": name_of(spec),
        "namespace": placement.namespace,
        "labels": labels_of(studio=placement.studio, endpoint=spec.endpoint_name, deployment=spec.name),
    }


def _selector(spec: DeploymentSpec) -> dict[str, str]:
    return pod_selector(endpoint=spec.endpoint_name, deployment=spec.name)


def _service_account(spec: DeploymentSpec, placement: Placement) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(spec, placement),
        "automountServiceAccountToken": False,
    }


def _secret(spec: DeploymentSpec, placement: Placement) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(spec, placement),
        "type": "Opaque",
        "data": {TOKEN_KEY: base64.b64encode(placement.download_token.encode()).decode()},
    }


def _service(spec: DeploymentSpec, placement: Placement) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(spec, placement),
        "spec": {
            "selector": _selector(spec),
            "ports": [{"name": "http", "port": contract.SCORING_PORT, "targetPort": contract.SCORING_PORT}],
        },
    }


def _network_policy(spec: DeploymentSpec, placement: Placement) -> Obj:
    routers = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": contract.SYSTEM_NAMESPACE}},
        "podSelector": {"matchLabels": {contract.APP_NAME: contract.ROUTER}},
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(spec, placement),
        "spec": {
            "podSelector": {"matchLabels": _selector(spec)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [routers], "ports": [{"protocol": "TCP", "port": contract.SCORING_PORT}]}],
        },
    }


def _disruption_budget(spec: DeploymentSpec, placement: Placement) -> Obj:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(spec, placement),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selector(spec)}},
    }


def _workload(spec: DeploymentSpec, placement: Placement, *, replicas: int | None) -> Obj:
    labels = labels_of(studio=placement.studio, endpoint=spec.endpoint_name, deployment=spec.name)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(spec, placement),
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": ROLLOUT_SECONDS,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": _selector(spec)},
            "template": {
                "metadata": {"labels": labels | {contract.REVISION: str(placement.revision)}},
                "spec": _pod(spec, placement),
            },
        },
    }


def _pod(spec: DeploymentSpec, placement: Placement) -> Obj:
    timeout = math.ceil(spec.request.request_timeout_ms / 1000)
    return {
        "serviceAccountName": name_of(spec),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": DRAIN_SECONDS + timeout + 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"nodeSelector": dict(placement.node_selector)} if placement.node_selector else {}),
        **({"tolerations": [dict(each) for each in placement.tolerations]} if placement.tolerations else {}),
        "initContainers": [_storage_container(spec, placement)],
        "containers": [_server_container(spec, placement)],
        "volumes": [{"name": "app", "emptyDir": {}}],
    }


def _container(name: str, *, image: str, placement: Placement) -> Obj:
    """What both containers have in common. A quota counts the init container too, so it asks for the same."""
    resources = {"requests": dict(placement.requests), "limits": dict(placement.limits)}
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": {kind: amounts for kind, amounts in resources.items() if amounts},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePolicy": "FallbackToLogsOnError",  # the log's tail explains an exit
        "volumeMounts": [{"name": "app", "mountPath": APP_ROOT}],
    }


def _storage_container(spec: DeploymentSpec, placement: Placement) -> Obj:
    arguments = ["fetch", "--digest", spec.code_digest, "--to", CODE_DIR, "--name", "code"]
    if spec.model:
        arguments += ["--digest", placement.model_digest, "--to", model_dir(spec), "--name", spec.model]
    token = {"secretKeyRef": {"name": name_of(spec), "key": TOKEN_KEY}}
    return _container(contract.FETCH_CONTAINER, image=placement.slipway_image, placement=placement) | {
        "command": ["python", "-m", "routerd.artifacts"],
        "args": arguments,
        "env": [
            {"name": "ROUTERD_ARTIFACTS_URL", "value": placement.artifacts_url},
            {"name": "ROUTERD_ARTIFACTS_TOKEN", "valueFrom": token},
            {"name": "PYTHONUNBUFFERED", "value": "1"},
        ],
    }


def _server_container(spec: DeploymentSpec, placement: Placement) -> Obj:
    startup = Probe(period=1, timeout=1, failure_threshold=ROLLOUT_SECONDS)
    return _container(contract.SERVER_CONTAINER, image=placement.image, placement=placement) | {
        "command": ["gunicorn"],
        "args": _gunicorn_arguments(spec),
        "workingDir": CODE_DIR,
        "env": _environment(spec),
        "ports": [{"name": "http", "containerPort": contract.SCORING_PORT}],
        "startupProbe": _probe(startup, ask={"httpGet": {"path": "/", "port": contract.SCORING_PORT}}),
        "readinessProbe": _probe(spec.probes.readiness, ask={"tcpSocket": {"port": contract.SCORING_PORT}}),
        "livenessProbe": _probe(spec.probes.liveness, ask={"tcpSocket": {"port": contract.SCORING_PORT}}),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(DRAIN_SECONDS)]}}},
    }


def _gunicorn_arguments(spec: DeploymentSpec) -> list[str]:
    """One worker: a second one would load the model twice. Threads let run() be called at once as often as asked."""
    timeout = math.ceil(spec.request.request_timeout_ms / 1000)
    asked = spec.environment_variables.get("WORKER_TIMEOUT", "")
    silent = int(asked) if asked.isascii() and asked.isdigit() else WORKER_TIMEOUT
    concurrency = spec.request.max_concurrent_requests_per_instance
    return [
        *("--bind", f"$(POD_IP):{contract.SCORING_PORT}"),
        *("--workers", "1"),
        *(("--threads", str(concurrency)) if concurrency > 1 else ()),
        *("--timeout", str(max(silent, timeout + 30))),
        *("--graceful-timeout", str(timeout)),
        "azureml_inference_server_http.server.entry:app",
    ]


def _environment(spec: DeploymentSpec) -> list[Obj]:
    given = [{"name": name, "value": value} for name, value in sorted(spec.environment_variables.items())]
    model = [{"name": "AZUREML_MODEL_DIR", "value": model_dir(spec)}] if spec.model else []
    return [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "AML_APP_ROOT", "value": CODE_DIR},
        {"name": "AZUREML_ENTRY_SCRIPT", "value": spec.scoring_script},
        *model,
        {"name": "PYTHONUNBUFFERED", "value": "1"},
        {"name": "HOME", "value": APP_ROOT},  # user 10001 has no home, and libraries and gunicorn write there
        *given,
    ]


def _probe(probe: Probe, *, ask: Obj) -> Obj:
    return ask | {
        "initialDelaySeconds": probe.initial_delay,
        "periodSeconds": probe.period,
        "timeoutSeconds": probe.timeout,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }

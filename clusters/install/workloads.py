"""The router and the artifact cache: workloads and how they are reached. Pure.

Both run as a numeric non-root user under Kubernetes' restricted rules, with a read-only root file system. The router is
replaced one pod at a time with a new one ready first, and waits a little in preStop: its address leaves the
EndpointSlices while it ends, in no order, and callers must not meet a closed port meanwhile.
"""

from typing import Any

from clusters.install.manifests import labels, meta
from clusters.install.settings import RouterSettings
from clusters.kube.kinds import Obj
from routerd import contract

USER = 10001
PRE_STOP_SECONDS = 3
DRAIN_SECONDS = 420  # the longest wait and the longest request; a router without requests ends at once
_RUN_DIR = "/run/slipway"
_ADMIN_DIR = "/etc/slipway/admin"
_DATA_DIR = "/data"


def router(settings: RouterSettings, *, studio: str, address: str) -> list[Obj]:
    """The router's Services, workload and disruption budget. `address`: what status.address is to say, or ""."""
    return [
        _router_service(settings, studio=studio),
        _private_service(studio=studio),
        _admin_service(studio=studio),
        _router_workload(settings, studio=studio, address=address),
        _budget(studio=studio),
    ]


def artifacts(settings: RouterSettings, *, studio: str, storage: bool) -> list[Obj]:
    """The artifact cache; on a volume of its own where `storage` says there is a default storage class."""
    claim = [_claim(settings, studio=studio)] if storage else []
    return [
        *claim,
        _service(
            contract.ARTIFACTS,
            studio=studio,
            app=contract.ARTIFACTS,
            ports=[_port("http", contract.ARTIFACTS_PORT, "http")],
        ),
        _artifacts_workload(settings, studio=studio, storage=storage),
    ]


# --- Services ---------------------------------------------------------------------------------


def _router_service(settings: RouterSettings, *, studio: str) -> Obj:
    port = _port("http", settings.port, "http")
    if settings.service_type == "NodePort" and settings.node_port:
        port["nodePort"] = settings.node_port
    ports = [port, *([_port("https", 443, "https")] if settings.tls_secrets else [])]
    return _service(
        contract.ROUTER_SERVICE, studio=studio, app=contract.ROUTER, ports=ports, type_=settings.service_type
    )


def _private_service(*, studio: str) -> Obj:
    """Leads to the private listener, where endpoints answer that are not for the public."""
    ports = [_port("http", 80, "private")]
    return _service(contract.PRIVATE_SERVICE, studio=studio, app=contract.ROUTER, ports=ports)


def _admin_service(*, studio: str) -> Obj:
    service = _service(
        contract.ROUTER, studio=studio, app=contract.ROUTER, ports=[_port("admin", contract.ADMIN_PORT, "admin")]
    )
    service["spec"] |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return service


def _service(name: str, *, studio: str, app: str, ports: list[Obj], type_: str = "ClusterIP") -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(name, studio=studio, app=app),
        "spec": {"type": type_, "selector": {contract.APP_NAME: app}, "ports": ports},
    }


def _port(name: str, port: int, target: str) -> Obj:
    return {"name": name, "port": port, "targetPort": target, "protocol": "TCP"}


# --- Workloads --------------------------------------------------------------------------------


def _workload(app: str, *, studio: str, replicas: int, strategy: Obj, pod: Obj) -> Obj:
    own = labels(studio=studio, app=app)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(app, studio=studio, app=app),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {contract.APP_NAME: app}},
            "strategy": strategy,
            "template": {"metadata": {"labels": own}, "spec": pod},
        },
    }


def _pod(settings: RouterSettings, *, account: str, grace: int) -> Obj:
    pull = {"imagePullSecrets": [{"name": settings.pull_secret}]} if settings.pull_secret else {}
    return {
        "serviceAccountName": account,
        "terminationGracePeriodSeconds": grace,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **pull,
    }


def _container(name: str, settings: RouterSettings, **more: Any) -> Obj:
    return {
        "name": name,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }


def _from_field(name: str, path: str) -> Obj:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _about_the_pod() -> list[Obj]:
    return [
        _from_field("POD_IP", "status.podIP"),
        _from_field("POD_NAME", "metadata.name"),
        _from_field("POD_UID", "metadata.uid"),
        _from_field("POD_NAMESPACE", "metadata.namespace"),
    ]


def _probe(path: str, port: str, **more: int) -> Obj:
    return {"httpGet": {"path": path, "port": port}, "timeoutSeconds": 2, **more}


def _router_workload(settings: RouterSettings, *, studio: str, address: str) -> Obj:
    env = [
        *_about_the_pod(),
        {"name": "ROUTERD_RUN_DIR", "value": _RUN_DIR},
        # Named, though it is the usual place: a cluster that cannot mount it there can say where it is instead.
        {"name": "ROUTERD_SERVICE_ACCOUNT_DIR", "value": "/var/run/secrets/kubernetes.io/serviceaccount"},
        {"name": "ROUTERD_ADMIN_TOKEN_FILE", "value": f"{_ADMIN_DIR}/token"},
        {"name": "ROUTERD_INFERENCE_PORT", "value": str(contract.INFERENCE_PORT)},
        {"name": "ROUTERD_ADMIN_PORT", "value": str(contract.ADMIN_PORT)},
        {"name": "ROUTERD_PRIVATE_PORT", "value": str(contract.PRIVATE_PORT)},
        *_tls_variables(settings),
        {"name": "ROUTERD_PEER_PORT", "value": str(contract.PEER_PORT)},
        {"name": "ROUTERD_LOG_SAMPLE", "value": str(settings.log_sample)},
        {"name": "ROUTERD_GRACE_SECONDS", "value": str(DRAIN_SECONDS)},
        *([{"name": "ROUTERD_ADDRESS", "value": address}] if address else []),
    ]
    container = _container(
        "routerd",
        settings,
        command=["python", "-m", "routerd"],
        env=env,
        ports=[
            {"name": "http", "containerPort": contract.INFERENCE_PORT},
            {"name": "private", "containerPort": contract.PRIVATE_PORT},
            {"name": "https", "containerPort": contract.TLS_PORT},
            {"name": "admin", "containerPort": contract.ADMIN_PORT},
            {"name": "peers", "containerPort": contract.PEER_PORT},
        ],
        resources={
            "requests": {"cpu": "100m", "memory": "192Mi"},
            "limits": {"cpu": "2", "memory": "512Mi"},
        },
        startupProbe=_probe(contract.ADMIN_HEALTHZ, "admin", periodSeconds=1, failureThreshold=60),
        readinessProbe=_probe(contract.ADMIN_READYZ, "admin", periodSeconds=2, failureThreshold=2),
        livenessProbe=_probe(contract.ADMIN_HEALTHZ, "admin", periodSeconds=10, failureThreshold=6),
        lifecycle={"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        volumeMounts=[
            {"name": "run", "mountPath": _RUN_DIR},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  a volume of the pod's own
            {"name": "admin", "mountPath": _ADMIN_DIR, "readOnly": True},
        ],
    )
    pod = _pod(settings, account=contract.ROUTER, grace=PRE_STOP_SECONDS + DRAIN_SECONDS + 17) | {
        "containers": [container],
        "topologySpreadConstraints": [_spread(contract.ROUTER)],
        "volumes": [
            {"name": "run", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "admin", "secret": {"secretName": contract.ADMIN_SECRET}},
        ],
    }
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return _workload(contract.ROUTER, studio=studio, replicas=settings.replicas, strategy=strategy, pod=pod)


def _tls_variables(settings: RouterSettings) -> list[Obj]:
    if not settings.tls_secrets:
        return []
    return [
        {"name": "ROUTERD_TLS_PORT", "value": str(contract.TLS_PORT)},
        {"name": "ROUTERD_TLS_SECRETS", "value": ",".join(settings.certificates())},
        {"name": "ROUTERD_PLAIN_HTTP", "value": settings.plain_http},
    ]


def _spread(app: str) -> Obj:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {contract.APP_NAME: app}},
    }


def _budget(*, studio: str) -> Obj:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta(contract.ROUTER, studio=studio, app=contract.ROUTER),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {contract.APP_NAME: contract.ROUTER}}},
    }


def _artifacts_workload(settings: RouterSettings, *, studio: str, storage: bool) -> Obj:
    container = _container(
        "artifacts",
        settings,
        command=["python", "-m", "routerd.artifacts", "serve", "--dir", _DATA_DIR],
        env=_about_the_pod(),
        envFrom=[{"secretRef": {"name": contract.ARTIFACTS}}],
        ports=[{"name": "http", "containerPort": contract.ARTIFACTS_PORT}],
        resources={
            "requests": {"cpu": "50m", "memory": "128Mi"},
            "limits": {"cpu": "1", "memory": "512Mi"},
        },
        startupProbe=_probe("/healthz", "http", periodSeconds=1, failureThreshold=60),
        readinessProbe=_probe("/healthz", "http", periodSeconds=2, failureThreshold=2),
        livenessProbe=_probe("/healthz", "http", periodSeconds=10, failureThreshold=6),
        volumeMounts=[
            {"name": "data", "mountPath": _DATA_DIR},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  a volume of the pod's own
        ],
    )
    data: Obj = {"persistentVolumeClaim": {"claimName": contract.ARTIFACTS}} if storage else {"emptyDir": {}}
    pod = _pod(settings, account=contract.ARTIFACTS, grace=30) | {
        "automountServiceAccountToken": False,
        "containers": [container],
        "volumes": [{"name": "data", **data}, {"name": "tmp", "emptyDir": {}}],
    }
    # A volume for one pod at a time: the old pod must let go of it before the new one starts.
    return _workload(contract.ARTIFACTS, studio=studio, replicas=1, strategy={"type": "Recreate"}, pod=pod)


def _claim(settings: RouterSettings, *, studio: str) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": meta(contract.ARTIFACTS, studio=studio, app=contract.ARTIFACTS),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": f"{settings.artifacts_gib}Gi"}},
        },
    }

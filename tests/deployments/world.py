"""A workspace as it might be on a working day, made through the models: what pages and their pictures are drawn from.

Nothing here is read from a cluster; `observed` is written as the recorder writes it, by the same dataclasses.
"""

import hashlib
import io
import json
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from clusters.capacity import Node, to_json
from clusters.kube.connection import Connection
from clusters.models import Cluster, ComputeTarget, InstanceType
from deployments.artifacts.keep import keep_artifact
from deployments.artifacts.pack import CODE_LIMITS, MODEL_LIMITS
from deployments.models import (
    Artifact,
    Deployment,
    DeploymentRevision,
    Endpoint,
    EndpointKey,
    Environment,
    MetricSample,
    Model,
    ScaleDecision,
)
from deployments.specs import normalise_definition
from deployments.status import DeploymentStatus, ReplicaStatus, StatusCause
from routerd.contract import key_hash
from studio.models import LogStream, Workspace
from studio.services.logs import Line, append_lines, open_stream
from studio.services.subject import Subject

SCORE = b"def init():\n    pass\n\n\ndef run(raw):\n    return raw\n"
SAMPLE = b'{"addresses": ["12 Quay Street"]}'


def make_cluster(workspace: Workspace, *, name: str = "quay-prod") -> Cluster:
    """A cluster with two nodes, three instance types and a router."""
    gib = 1024**3
    nodes = [
        Node(
            name=f"node-{number}",
            ready=True,
            allocatable={"cpu": 16_000, "memory": 64 * gib, "pods": 110},
            requested={"cpu": 13_000, "memory": 30 * gib},
            pods=20,
        )
        for number in (1, 2)
    ]
    cluster = Cluster.objects.create(
        workspace=workspace,
        name=name,
        uid=f"uid-{workspace.pk}-{name}",
        server="https://quay-prod.parcel-ops.example:6443",
        connection=Connection(server="https://127.0.0.1:1").to_json(),  # nothing listens there
        runtime="process",
        state="connected",
        router_state="ready",
        router_address="https://quay-prod.parcel-ops.example",
        nodes=to_json(nodes),
    )
    for size, cpu, memory in (("cpu-1", "1", "2Gi"), ("cpu-2", "2", "4Gi"), ("cpu-4", "4", "8Gi")):
        amounts = {"cpu": cpu, "memory": memory}
        InstanceType.objects.create(cluster=cluster, name=size, requests=amounts, limits=amounts)
    return cluster


def make_target(workspace: Workspace, *, cluster: Cluster | None = None, name: str = "parcel-ops") -> ComputeTarget:
    """A namespace of the cluster."""
    cluster = cluster or make_cluster(workspace)
    return ComputeTarget.objects.create(workspace=workspace, cluster=cluster, name=name, namespace=name)


def make_model(workspace: Workspace, *, name: str = "address-bert", version: int = 12) -> Model:
    """A model of two small files."""
    files = [("model.bin", io.BytesIO(f"{name}{version}".encode() * 40)), ("vocab.json", io.BytesIO(b"{}"))]
    artifact = keep_artifact(workspace, files=files, limits=MODEL_LIMITS, field="files")
    return Model.objects.create(workspace=workspace, name=name, version=version, artifact=artifact)


def make_environment(workspace: Workspace, *, name: str = "torch-cpu", version: int = 4) -> Environment:
    """An environment of two packages."""
    requirements = "torch==2.9.1\ntokenizers==0.22.1\n"
    definition = normalise_definition(requirements, python_version="3.11")
    return Environment.objects.create(
        workspace=workspace,
        name=name,
        version=version,
        requirements=requirements,
        definition_hash=definition.hash,
    )


def make_code(workspace: Workspace) -> Artifact:
    """A scoring script with its sample request."""
    files = [("score.py", io.BytesIO(SCORE)), ("sample-request.json", io.BytesIO(SAMPLE))]
    return keep_artifact(workspace, files=files, limits=CODE_LIMITS, field="code")


def make_endpoint(
    workspace: Workspace, *, target: ComputeTarget, name: str = "address-match", **values: Any
) -> Endpoint:
    """An endpoint with two keys."""
    endpoint = Endpoint.objects.create(workspace=workspace, target=target, name=name, **values)
    for key in ("primary", "secondary"):
        value = f"{key}-{name}-" + hashlib.sha256(f"{key}{name}".encode()).hexdigest()[:24]
        EndpointKey.objects.create(
            endpoint=endpoint, name=key, value=value, sha256=key_hash(value), created_at=endpoint.created_at
        )
    return endpoint


def written_spec(
    *, endpoint: str, name: str, model: Model | None, environment: Environment, code: Artifact, **scale: int
) -> dict[str, Any]:
    """A spec as the row keeps it."""
    return {
        "name": name,
        "endpoint_name": endpoint,
        **({"model": str(model)} if model else {}),
        "environment": str(environment),
        "code_configuration": {"code": f"sha256:{code.digest}", "scoring_script": "score.py"},
        "instance_type": "cpu-4",
        "scale_settings": {"type": "target_utilization", "min_instances": 2, "max_instances": 8, **scale},
        "request_settings": {"max_concurrent_requests_per_instance": 4},
    }


def make_deployment(
    endpoint: Endpoint,
    *,
    name: str,
    model: Model,
    environment: Environment,
    status: DeploymentStatus | None = None,
    **values: Any,
) -> Deployment:
    """A deployment that lies in the cluster, in the state of `status`."""
    code = make_code(endpoint.workspace)
    spec = written_spec(endpoint=endpoint.name, name=name, model=model, environment=environment, code=code)
    deployment = Deployment.objects.create(
        endpoint=endpoint,
        name=name,
        spec=spec,
        model=model,
        environment=environment,
        code=code,
        applied_revision=1,
        state=status.state if status else "unknown",
        observed=json.loads(json.dumps(status.to_json())) if status else {},
        **values,
    )
    worked = status is not None and status.ready > 0
    DeploymentRevision.objects.create(deployment=deployment, number=1, spec=spec, succeeded=worked)
    return deployment


def replica(
    name: str, *, phase: str = "ready", sentence: str = "Ready.", cause: StatusCause | None = None
) -> ReplicaStatus:
    """One replica."""
    return ReplicaStatus(name=name, uid=f"uid-{name}", revision=1, phase=phase, sentence=sentence, cause=cause)


def healthy(*names: str) -> DeploymentStatus:
    """All of these replicas are ready."""
    return DeploymentStatus(
        state="healthy",
        sentence=f"All {len(names)} replicas are ready." if len(names) > 1 else "The replica is ready.",
        replicas=tuple(replica(name) for name in names),
        wanted=len(names),
        ready=len(names),
        revision=1,
        settled=True,
        complete=True,
    )


def scaling() -> DeploymentStatus:
    """Two of three replicas are ready."""
    coming = replica("green-x2c", phase="pulling", sentence="Pulling the image.")
    return DeploymentStatus(
        state="scaling",
        sentence="2 of 3 replicas are ready. Pulling the image.",
        replicas=(replica("green-4hd"), replica("green-9rt"), coming),
        wanted=3,
        ready=2,
        revision=1,
        settled=True,
    )


def out_of_memory() -> DeploymentStatus:
    """One of two replicas went over its memory."""
    cause = StatusCause(name="PodOutOfMemory", text="1 of 2 replicas went over its 4 GiB, 2 times in 5 min.", tries=2)
    lost = replica("int8-f0w", phase="failed", sentence=cause.text, cause=cause)
    return DeploymentStatus(
        state="degraded",
        sentence=f"1 of 2 replicas is ready. PodOutOfMemory: {cause.text}",
        cause=cause,
        replicas=(replica("int8-aa8"), lost),
        wanted=2,
        ready=1,
        revision=1,
        settled=True,
    )


def failed_rollout() -> DeploymentStatus:
    """A script that does not start."""
    cause = StatusCause(
        name="UserScriptInitFailed", text="init() needs a file vocab.json that the model does not have.", tries=3
    )
    lost = replica("green-7fk", phase="failed", sentence=cause.text, cause=cause)
    return DeploymentStatus(
        state="failed",
        sentence=f"No replica is ready: {cause.name}. {cause.text}",
        cause=cause,
        replicas=(lost,),
        wanted=1,
        ready=0,
        revision=1,
        settled=True,
    )


def measure(
    deployment: Deployment,
    *,
    now: datetime,
    seconds: int = 3600,
    every: int = 10,
    rps: float = 90,
    p95: float = 61,
    ready: int = 4,
    wanted: int = 4,
    turned_away: int = 0,
) -> None:
    """Samples of the last `seconds`, one window of `every` seconds each, at one router."""
    rows = []
    for number in range(seconds // every):
        at = now - timedelta(seconds=number * every)
        wave = 1 + 0.25 * math.sin(number / 20) + 0.05 * math.sin(number * 1.7)
        rows.append(
            MetricSample(
                deployment=deployment,
                router="routerd-0",
                at=at,
                seconds=every,
                ok=int(rps * every * wave),
                refused=number % 7 == 0,
                turned_away=turned_away * every,
                failed=0,
                p50_ms=p95 * 0.45 * wave,
                p95_ms=p95 * wave,
                p99_ms=p95 * 1.6 * wave,
                in_flight=rps * wave * p95 / 2000,
                queued=6.0 if 34 < number < 38 else 0.0,
                concurrency=4,
                replicas_ready=ready if number < 36 else ready - 1,
                replicas_wanted=wanted if number < 38 else wanted - 1,
            )
        )
    MetricSample.objects.bulk_create(rows)


def decide(deployment: Deployment, *, now: datetime) -> None:
    """Three changes of the replicas wanted."""
    changes: Sequence[tuple[int, int, int, str]] = (
        (380, 3, 4, "load 76 % over 70 %: 9.1 in flight + 0 queued on 3 replicas"),
        (2400, 4, 3, "load at most 52 % for 60 s: 8.3 requests at the peak on 4 replicas, 3 are enough at 70 %"),
        (5000, 3, 4, "load 88 % over 70 %: 8.6 in flight + 2 queued on 3 replicas"),
    )
    for seq, (ago, before, after, reason) in enumerate(changes):
        at = now - timedelta(seconds=ago)
        ScaleDecision.objects.create(
            deployment=deployment,
            router=f"routerd-{deployment.pk}",
            seq=seq,
            at=at,
            before=before,
            after=after,
            reason=reason,
            ready_at=at + timedelta(seconds=19) if after > before else None,
        )


def log(deployment: Deployment, *, replica: str, now: datetime, lines: int = 40) -> LogStream:
    """A stream of one container."""
    stream = open_stream(
        deployment.endpoint.workspace,
        key=f"pod/{deployment.pk}-{replica}/server/0",
        label=f"{replica}, server",
        subject=Subject("deployment", str(deployment.pk), str(deployment)),
    )
    append_lines(
        stream,
        lines=[
            Line(
                at=now - timedelta(seconds=lines - number),
                source="server",
                text="UserWarning: feature names reordered" if number == 7 else f"POST /score 200 {11 + number % 9} ms",
                level="warn" if number == 7 else "info",
            )
            for number in range(lines)
        ],
    )
    return stream


def make_address_match(workspace: Workspace, *, now: datetime, user: Any = None) -> Endpoint:
    """The endpoint of the proofs: blue and green share the traffic, int8 gets copies and is short."""
    target = ComputeTarget.objects.filter(workspace=workspace).first() or make_target(workspace)
    bert, newer = make_model(workspace), make_model(workspace, version=13)
    small, torch = make_model(workspace, name="address-bert-int8", version=2), make_environment(workspace)
    endpoint = make_endpoint(
        workspace, target=target, traffic={"blue": 80, "green": 20}, mirror={"int8": 10}, created_by=user
    )
    blue = make_deployment(
        endpoint,
        name="blue",
        model=bert,
        environment=torch,
        status=healthy("blue-7c4", "blue-k2x", "blue-m9d", "blue-zq1"),
    )
    green = make_deployment(endpoint, name="green", model=newer, environment=torch, status=scaling())
    int8 = make_deployment(endpoint, name="int8", model=small, environment=torch, status=out_of_memory())
    measure(blue, now=now, rps=330)
    measure(green, now=now, rps=82, p95=44, ready=2, wanted=3)
    measure(int8, now=now, rps=41, p95=38, ready=1, wanted=2)
    decide(blue, now=now)
    log(blue, replica="blue-7c4", now=now)
    return endpoint


def make_others(workspace: Workspace, *, now: datetime) -> None:
    """More endpoints, in each of the four groups of the list."""
    target = ComputeTarget.objects.filter(workspace=workspace).first() or make_target(workspace)
    model, environment = (
        make_model(workspace, name="volume-gbm", version=7),
        make_environment(workspace, name="forecast-cpu"),
    )
    ocr = make_endpoint(workspace, target=target, name="doc-ocr", traffic={"blue": 100})
    blue = make_deployment(ocr, name="blue", model=model, environment=environment, status=healthy("blue-1", "blue-2"))
    make_deployment(ocr, name="green", model=model, environment=environment, status=failed_rollout())
    measure(blue, now=now, rps=38, p95=212, ready=2, wanted=2)
    eta = make_endpoint(workspace, target=target, name="eta-forecast", traffic={"blue": 100})
    full = make_deployment(eta, name="blue", model=model, environment=environment, status=healthy(*"abcdef"))
    measure(full, now=now, rps=861, p95=498, ready=6, wanted=7, turned_away=28)
    fine = make_endpoint(workspace, target=target, name="route-cost", traffic={"blue": 100})
    calm = make_deployment(fine, name="blue", model=model, environment=environment, status=healthy("x", "y", "z"))
    measure(calm, now=now, rps=236, p95=31, ready=3, wanted=3)
    idle = make_endpoint(workspace, target=target, name="returns-risk")
    make_deployment(idle, name="trial", model=model, environment=environment, status=healthy("t"))
    make_endpoint(workspace, target=target, name="weekly-churn")

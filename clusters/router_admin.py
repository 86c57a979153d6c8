"""Asking router pods, one by one, through the API server's proxy.

Samples and decisions come from rings in the pods' memory: a reader keeps (pod UID, sequence) and asks for what is after
it. What goes to one pod says nothing of the others, so "in force everywhere" is asked of each.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from clusters.connections import kube_for
from clusters.kube.client import ProxyResponse
from clusters.kube.errors import KubeError, ServerFailed, error_of
from clusters.kube.kinds import PODS, Obj
from clusters.models import Cluster
from routerd import contract

INVOKE_SECONDS = 310.0  # a model may take five minutes


@dataclass(frozen=True)
class RouterPod:
    """One router pod. `cluster` gives the way and the token."""

    cluster: Cluster = field(repr=False)
    name: str
    uid: str
    node: str
    ready: bool
    started_at: str  # RFC 3339, "" before it runs
    restarts: int
    phase: str


def router_pods(cluster: Cluster) -> list[RouterPod]:
    """The router pods there are, ready ones first, without those that are ending. Raises KubeError."""
    selector = f"{contract.APP_NAME}={contract.ROUTER}"
    listed = kube_for(cluster).list(PODS, contract.SYSTEM_NAMESPACE, label_selector=selector)
    pods = [_pod(cluster, pod) for pod in listed if not pod["metadata"].get("deletionTimestamp")]
    return sorted(pods, key=lambda pod: (not pod.ready, pod.name))


def _pod(cluster: Cluster, pod: Obj) -> RouterPod:
    status = pod.get("status") or {}
    conditions = {each.get("type"): each.get("status") for each in status.get("conditions") or []}
    containers = status.get("containerStatuses") or []
    return RouterPod(
        cluster=cluster,
        name=pod["metadata"]["name"],
        uid=pod["metadata"]["uid"],
        node=str((pod.get("spec") or {}).get("nodeName") or ""),
        ready=conditions.get("Ready") == "True",
        started_at=str(status.get("startTime") or ""),
        restarts=sum(int(each.get("restartCount") or 0) for each in containers),
        phase=str(status.get("phase") or ""),
    )


def get_samples(pod: RouterPod, *, after: int) -> dict[str, Any]:
    """{"router", "next", "samples": [...]}: one sample a second and deployment, after sequence number `after`."""
    return _get(pod, f"{contract.ADMIN_SAMPLES}?{urlencode({'after': after})}")


def get_decisions(pod: RouterPod, *, after: int) -> dict[str, Any]:
    """{"router", "next", "decisions": [...]}"""
    return _get(pod, f"{contract.ADMIN_DECISIONS}?{urlencode({'after': after})}")


def get_table(pod: RouterPod) -> dict[str, Any]:
    """{"router", "endpoints": {"namespace/name": {"generation", "keyRevision", "conditions", "deployments"}}}"""
    return _get(pod, contract.ADMIN_TABLE)


def invoke(
    pod: RouterPod,
    *,
    namespace: str,
    endpoint: str,
    method: str = "POST",
    path: str = "/score",
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
    body_base64: str | None = None,
    deployment: str = "",
) -> dict[str, Any]:
    """Call an endpoint through this router without a key, as the Test tab does.

    {"status", "headers", "body" | "body_base64", "milliseconds", "deployment"}
    """
    asked: dict[str, Any] = {
        "namespace": namespace,
        "endpoint": endpoint,
        "method": method,
        "path": path,
        "headers": dict(headers or {}),
    }
    asked |= {"deployment": deployment} if deployment else {}
    asked |= {"body_base64": body_base64} if body_base64 is not None else {"body": body or ""}
    answer = _ask(
        pod,
        contract.ADMIN_INVOKE,
        method="POST",
        body=json.dumps(asked).encode(),
        timeout=INVOKE_SECONDS,
    )
    return _read(pod, answer)


def _get(pod: RouterPod, path: str) -> dict[str, Any]:
    return _read(pod, _ask(pod, path))


def _ask(
    pod: RouterPod, path: str, *, method: str = "GET", body: bytes | None = None, timeout: float = 10
) -> ProxyResponse:
    headers = {contract.ADMIN_TOKEN_HEADER: pod.cluster.admin_token}
    if body is not None:
        headers["Content-Type"] = "application/json"
    return kube_for(pod.cluster).pod_proxy(
        contract.SYSTEM_NAMESPACE,
        pod.name,
        contract.ADMIN_PORT,
        path,
        method=method,
        headers=headers,
        body=body,
        timeout=timeout,
    )


def _read(pod: RouterPod, answer: ProxyResponse) -> dict[str, Any]:
    subject = f"Router pod {pod.name}"
    if answer.status != 200:
        raise _error(answer, subject=subject)
    try:
        found = json.loads(answer.body)
    except ValueError as error:
        raise ServerFailed(subject, cause="its answer is not JSON") from error
    if not isinstance(found, dict):
        raise ServerFailed(subject, cause="its answer is not an object")
    return found


def _error(answer: ProxyResponse, *, subject: str) -> KubeError:
    try:
        problem = json.loads(answer.body)
    except ValueError:
        problem = None
    if isinstance(problem, dict) and problem.get("detail"):
        body = json.dumps({"kind": "Status", "message": problem["detail"], "reason": problem.get("code")}).encode()
        return error_of(answer.status, body=body, subject=subject)
    return error_of(answer.status, body=answer.body, subject=subject)

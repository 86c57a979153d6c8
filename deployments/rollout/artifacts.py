"""Push artifacts into a cluster's cache, in chunks through the API server; one that broke off goes on where it was."""

import time
from typing import Final

from clusters.kube.client import Kube, ProxyResponse
from clusters.kube.kinds import PODS
from clusters.models import Cluster
from deployments.models import Artifact
from deployments.rollout.errors import NotYetError, RolloutError
from deployments.status import StatusCause, WayOut
from routerd import contract
from studio.models import Operation
from studio.services.operations import say, update_step

_REPORT_EVERY: Final = 1.0  # seconds
_STEP: Final = "artifacts"


def push_artifact(op: Operation, *, kube: Kube, cluster: Cluster, artifact: Artifact, name: str) -> bool:
    """Make the cache hold `artifact`; False when it held it already. Raises NotYetError, RolloutError, KubeError."""
    push = _Push(kube, cluster=cluster, artifact=artifact)
    received = push.received()
    if received is None:
        return False
    began, reported, start = time.monotonic(), 0.0, received
    with artifact.file.open("rb") as file:
        while received < artifact.size:
            file.seek(received)
            received = push.put(file.read(contract.ARTIFACTS_CHUNK_BYTES), offset=received)
            if time.monotonic() - reported > _REPORT_EVERY:
                reported = time.monotonic()
                op.refresh_from_db(fields=["cancel_requested"])
                if op.cancel_requested:
                    raise NotYetError("Somebody asked to cancel.", seconds=0)
                update_step(op, _STEP, detail=f"{name}: {_mb(received)} of {_mb(artifact.size)}")
    seconds = max(time.monotonic() - began, 0.001)
    rate = (artifact.size - start) / seconds
    say(op, f"pushed {name} to the artifact cache: {_mb(artifact.size)} in {seconds:.1f} s, {_mb(rate)}/s")
    return True


class _Push:
    """The conversation with the cache about one blob."""

    def __init__(self, kube: Kube, *, cluster: Cluster, artifact: Artifact) -> None:
        self._kube = kube
        self._token = cluster.artifacts_upload_token
        self._artifact = artifact
        self._pod = _cache_pod(kube)

    def received(self) -> int | None:
        """Bytes the cache has so far; None when it has all."""
        answer = self._ask("HEAD", "")
        if answer.status == 200:
            return None
        if answer.status != 404:
            raise self._refused(answer)
        return int(answer.headers.get(contract.ARTIFACTS_RECEIVED_HEADER, "0"))

    def put(self, chunk: bytes, *, offset: int) -> int:
        """Send one chunk; bytes the cache has afterwards."""
        answer = self._ask("PUT", f"?offset={offset}&total={self._artifact.size}", body=chunk)
        if answer.status == 201:
            return self._artifact.size
        if answer.status in (200, 409):  # 409: it knows better where it is
            return int(answer.headers[contract.ARTIFACTS_RECEIVED_HEADER])
        raise self._refused(answer)

    def _ask(self, method: str, query: str, *, body: bytes | None = None) -> ProxyResponse:
        return self._kube.pod_proxy(
            contract.SYSTEM_NAMESPACE,
            self._pod,
            contract.ARTIFACTS_PORT,
            f"{contract.ARTIFACTS_BLOBS}{self._artifact.digest}{query}",
            method=method,
            headers={
                contract.ARTIFACTS_TOKEN_HEADER: self._token,
                **({"Content-Type": "application/octet-stream"} if body is not None else {}),
            },
            body=body,
            timeout=60,
        )

    def _refused(self, answer: ProxyResponse) -> Exception:
        said = answer.body.decode(errors="replace")[:500] or f"status {answer.status}"
        if answer.status == 507:
            fix = WayOut("Have an operator make the artifact cache larger, on the cluster's page.")
        elif answer.status in (401, 403):
            fix = WayOut("Have an operator install the router again; the cache does not know this studio's token.")
        elif answer.status in (502, 503, 504):
            return NotYetError("The artifact cache does not answer yet.", seconds=2)
        else:
            fix = WayOut("Deploy again; if it stays, look at the log of slipway-artifacts on the cluster's page.")
        cause = StatusCause(
            name="ArtifactPushFailed", text="The cluster's artifact cache refused a file.", proof=said, fixes=(fix,)
        )
        return RolloutError(cause, step=_STEP)


def _cache_pod(kube: Kube) -> str:
    """Name of a ready pod of the cache. Raises NotYetError."""
    selector = f"{contract.APP_NAME}={contract.ARTIFACTS}"
    for pod in kube.list(PODS, contract.SYSTEM_NAMESPACE, label_selector=selector):
        conditions = (pod.get("status") or {}).get("conditions") or []
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
        if ready and not pod["metadata"].get("deletionTimestamp"):
            return str(pod["metadata"]["name"])
    raise NotYetError("The artifact cache of this cluster is not ready yet.", seconds=2)


def _mb(count: float) -> str:
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(count / 1e3, 0.1):.1f} kB"

"""Filling a cluster's artifact cache: chunks through the API server, resumed where they broke off.

    HEAD  200: whole, nothing to do | 404 with x-slipway-received: go on from there
    PUT   ?offset=&total=  200 taken | 201 whole | 409: the right offset is in the answer

The cache is the one that knows how far it is; this side asks, and believes it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from clusters.connections import kube_for
from clusters.kube.client import Kube, ProxyResponse
from clusters.kube.errors import KubeError, ServerFailed, TooMany, Unreachable
from clusters.models import Cluster
from routerd import contract

_ATTEMPTS = 5  # in a row without a single new byte
_CHUNK_SECONDS = 60.0
Progress = Callable[[int, int], None]


class ArtifactError(Exception):
    """The cache did not take an artifact. The message names cause and next step."""


class PushStopped(Exception):  # noqa: N818  asked for, not a failure
    """`should_stop` said so; what was sent stays in the cache for the next time."""


def has_artifact(cluster: Cluster, *, digest: str) -> bool:
    """Whether the cluster's cache holds this SHA-256. Raises KubeError, ArtifactError."""
    return _Cache(cluster).received(digest) is None


def push_artifact(
    cluster: Cluster,
    *,
    digest: str,
    path: Path,
    progress: Progress = lambda sent, total: None,  # noqa: ARG005  names for the reader
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Bring one file into the cache; False when it was there already.

    `progress(sent, total)` in bytes after each chunk. Raises ArtifactError, KubeError, PushStopped.
    """
    cache = _Cache(cluster)
    total = path.stat().st_size
    offset = cache.received(digest)
    if offset is None:
        progress(total, total)
        return False
    with path.open("rb") as file:
        _send(cache, file, digest=digest, offset=offset, total=total, progress=progress, should_stop=should_stop)
    return True


def _send(
    cache: "_Cache",
    file: BinaryIO,
    *,
    digest: str,
    offset: int,
    total: int,
    progress: Progress,
    should_stop: Callable[[], bool],
) -> None:
    failures = 0
    while True:
        if should_stop():
            raise PushStopped
        progress(offset, total)
        file.seek(offset)
        chunk = file.read(contract.ARTIFACTS_CHUNK_BYTES)
        try:
            taken = cache.put(digest, chunk=chunk, offset=offset, total=total)
        except (Unreachable, ServerFailed, TooMany):
            failures += 1
            if failures >= _ATTEMPTS:
                raise
            time.sleep(0.3 * 2**failures)
            taken = cache.received(digest)
        if taken is None:
            progress(total, total)
            return
        if taken > offset:
            failures = 0
        elif taken == offset and failures == 0:
            raise ArtifactError(f"The artifact cache takes no more of {digest} after {offset:,} bytes. Push it again.")
        offset = taken


class _Cache:
    """The cache of one cluster, through services/proxy."""

    def __init__(self, cluster: Cluster) -> None:
        if not cluster.artifacts_upload_token:
            raise ArtifactError(f"Cluster {cluster} has no artifact cache. Install the router there first.")
        self._kube: Kube = kube_for(cluster)
        self._headers = {contract.ARTIFACTS_TOKEN_HEADER: cluster.artifacts_upload_token}

    def ask(self, method: str, digest: str, *, query: str = "", body: bytes | None = None) -> ProxyResponse:
        more = {"Content-Type": "application/octet-stream"} if body is not None else {}
        return self._kube.service_proxy(
            contract.SYSTEM_NAMESPACE,
            contract.ARTIFACTS,
            contract.ARTIFACTS_PORT,
            f"{contract.ARTIFACTS_BLOBS}{digest}{query}",
            method=method,
            headers=self._headers | more,
            body=body,
            timeout=_CHUNK_SECONDS,
        )

    def received(self, digest: str) -> int | None:
        """Bytes the cache has so far; None when it is whole."""
        answer = self.ask("HEAD", digest)
        if answer.status == 200:
            return None
        if answer.status == 404 and contract.ARTIFACTS_RECEIVED_HEADER in answer.headers:
            return int(answer.headers[contract.ARTIFACTS_RECEIVED_HEADER])
        raise _refused(answer, digest=digest)

    def put(self, digest: str, *, chunk: bytes, offset: int, total: int) -> int | None:
        """Bytes the cache has afterwards; None when it is whole."""
        answer = self.ask("PUT", digest, query=f"?offset={offset}&total={total}", body=chunk)
        if answer.status == 201:
            return None
        if answer.status in (200, 409):
            return int(answer.headers[contract.ARTIFACTS_RECEIVED_HEADER])
        raise _refused(answer, digest=digest)


def _refused(answer: ProxyResponse, *, digest: str) -> KubeError | ArtifactError:
    text = answer.body[:500].decode(errors="replace") or f"status {answer.status}"
    if answer.status >= 500 and answer.status != 507:
        return ServerFailed(f"Artifact cache, {digest}", cause=text, status=answer.status)
    advice = {
        401: "Install the router again, so that cache and studio share their token.",
        422: "The file changed while it was sent. Register it again.",
        507: "Give the cache a larger volume in the router's settings.",
    }.get(answer.status, "Install the router again; if it stays, read the log of slipway-artifacts.")
    return ArtifactError(f"The artifact cache refuses {digest}: {text}. {advice}")

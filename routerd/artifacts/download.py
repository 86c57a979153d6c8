"""Get one blob from the artifact cache onto a disk: resumed, retried, and checked.

The part file is the only state: its length is where the next request starts, also after this container was restarted.
Attempts are counted without progress only: a download that keeps moving may be interrupted any number of times. What a
retry cannot mend (a wrong token, a blob the cache does not hold, a full disk) fails at once, and says what to do.

Standard library only: this runs before every replica.
"""

import errno
import hashlib
import http.client
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

from routerd import contract

_BLOCK: Final = 1 << 20
_TIMEOUT_SECONDS: Final = 30
_ATTEMPTS: Final = 6  # in a row without a single new byte
_LONGEST_PAUSE_SECONDS: Final = 8.0
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+)")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

Say = Callable[[str], None]


class FetchError(Exception):
    """The artifact cannot be had; the message names the cause and what to do."""


class _InterruptedError(Exception):
    """A failure that asking again may mend."""


@dataclass(frozen=True)
class Cache:
    """Where the artifact cache is, and the token to show it."""

    url: str
    token: str = field(repr=False)


@dataclass
class _Part:
    """The file being filled, with the hash of what it holds."""

    file: BinaryIO
    hash: Any = field(default_factory=hashlib.sha256)  # hashlib's own type has no public name
    received: int = 0
    total: int | None = None

    def take(self, block: bytes) -> None:
        self.file.write(block)
        self.hash.update(block)
        self.received += len(block)

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.hash, self.received = hashlib.sha256(), 0


@dataclass
class _Progress:
    """Says how far it is: every 5 seconds, or every second where that is 5 percent more."""

    say: Say
    started: float
    already: int
    said_at: float
    said: int

    def tell(self, received: int, *, total: int, now: float) -> None:
        enough = (received - self.said) * 20 >= total and now - self.said_at >= 1
        if received < total and (enough or now - self.said_at >= 5):
            speed = (received - self.already) / max(now - self.started, 1e-3)
            self.say(f"{size(received)} of {size(total)}, {size(speed)}/s")
            self.said_at, self.said = now, received


def download(digest: str, *, cache: Cache, to: Path, name: str, say: Say) -> int:
    """Fetch the blob into the file `to`, going on where an earlier call stopped; its size in bytes.

    Raises FetchError. On return the file's SHA-256 is `digest`.
    """
    for last in (False, True):
        with to.open("a+b") as file:
            part = _open_part(file)
            _fill(part, digest=digest, cache=cache, name=name, say=say)
        if part.hash.hexdigest() == digest:
            return part.received
        to.unlink()
        if not last:
            say(f"{name}: what came has SHA-256 {part.hash.hexdigest()}, not {digest}; asked again from byte 0")
    raise FetchError(
        f"{name}: the artifact cache sent other bytes than {digest} twice. "
        "Delete this artifact from the cache and deploy again, so that it is uploaded anew."
    )


def _open_part(file: BinaryIO) -> _Part:
    part = _Part(file)
    file.seek(0)
    while block := file.read(_BLOCK):
        part.hash.update(block)
        part.received += len(block)
    return part


def _fill(part: _Part, *, digest: str, cache: Cache, name: str, say: Say) -> None:
    failures = 0
    while part.total is None or part.received < part.total:
        before = part.received
        try:
            _request(part, digest=digest, cache=cache, name=name, say=say)
        except _InterruptedError as error:
            failures = 0 if part.received > before else failures + 1
            if failures >= _ATTEMPTS:
                raise FetchError(
                    f"{name}: {error}, {failures} times in a row, from {cache.url}. Check that the artifact cache runs "
                    f"in namespace {contract.SYSTEM_NAMESPACE} and that a NetworkPolicy lets this pod reach it."
                ) from error
            say(f"{name}: {error}; asked again from byte {part.received:,}")
            time.sleep(min(0.25 * 2**failures, _LONGEST_PAUSE_SECONDS))


def _request(part: _Part, *, digest: str, cache: Cache, name: str, say: Say) -> None:
    """One request for what is missing. Raises _InterruptedError or FetchError."""
    connection = _connect(cache)
    headers = {contract.ARTIFACTS_TOKEN_HEADER: cache.token, "range": f"bytes={part.received}-"}
    try:
        connection.request("GET", contract.ARTIFACTS_BLOBS + digest, headers=headers)
        response = connection.getresponse()
        _begin(part, response=response, digest=digest, name=name)
        _receive(part, response=response, name=name, say=say)
    except OSError as error:
        if error.errno in _FULL:
            raise FetchError(f"{name}: {_disk_full(part)}") from error
        raise _InterruptedError((error.strerror or str(error) or type(error).__name__).lower()) from error
    except http.client.HTTPException as error:
        raise _InterruptedError(f"the connection ended early ({type(error).__name__})") from error
    finally:
        connection.close()


def _connect(cache: Cache) -> http.client.HTTPConnection:
    parts = urlsplit(cache.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchError(f"ROUTERD_ARTIFACTS_URL is {cache.url!r}: set it to the http:// address of the cache.")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)


def _begin(part: _Part, *, response: http.client.HTTPResponse, digest: str, name: str) -> None:
    """Judge the answer's head, and learn the total size from it."""
    status = response.status
    if status == 206 and (match := _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))):
        part.total = int(match[2])
        if int(match[1]) != part.received:
            raise _InterruptedError(f"the cache sent bytes from {match[1]} instead")
    elif status == 200:
        part.restart()
        part.total = int(response.headers.get("content-length", "0"))
    elif status == 416:
        _past_the_end(part, response=response)
    elif status in (401, 403, 404):
        raise FetchError(f"{name}: {_ADVICE[status].format(digest=digest)}")
    else:
        raise _InterruptedError(f"the artifact cache answered {status} {response.reason}")


def _past_the_end(part: _Part, *, response: http.client.HTTPResponse) -> None:
    """Nothing is missing (or the part is of something else, which its SHA-256 will show)."""
    response.read()
    part.total = part.received


_ADVICE: Final = {
    401: "the artifact cache does not know this pod's token. Its signing key was changed: deploy again.",
    403: "this pod's token is not for {digest}. Deploy again, so that the token is made anew.",
    404: "the artifact cache does not hold {digest}. Deploy again, so that it is uploaded anew.",
}


def _receive(part: _Part, *, response: http.client.HTTPResponse, name: str, say: Say) -> None:
    total, now = part.total or 0, time.monotonic()
    if part.received == 0:
        say(f"fetch {name} from artifacts ({size(total)})")
    progress = _Progress(say, started=now, already=part.received, said_at=now, said=part.received)
    while part.received < total:
        block = response.read1(_BLOCK)
        if not block:
            raise _InterruptedError("the connection was closed")
        part.take(block)
        progress.tell(part.received, total=total, now=time.monotonic())


def _disk_full(part: _Part) -> str:
    return (
        f"the volume is full after {size(part.received)} of {size(part.total or 0)}. "
        "Give the instance type more ephemeral storage."
    )


def size(count: float) -> str:
    """Bytes for people: `512 MB`, `1.8 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"

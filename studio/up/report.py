"""What `make up` tells whoever started it: sentences for people, or JSON lines for programs (--json)."""

import json
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import Protocol

STARTED = time.monotonic()


@dataclass(frozen=True)
class Ready:
    """The studio answers."""

    address: str
    kubeconfig: str
    user: str
    password: str  # empty when it was made at an earlier start


@dataclass(frozen=True)
class Answering:
    """The sample endpoint answered a request."""

    scoring_uri: str
    key: str
    request: str  # JSON, as the body of the request
    status: int
    prediction: object
    deploy_seconds: float


class Report(Protocol):
    def step(self, text: str) -> None: ...
    def ready(self, ready: Ready) -> None: ...
    def answering(self, answering: Answering) -> None: ...
    def trouble(self, text: str) -> None: ...


def since_start() -> float:
    """Seconds since this program was started."""
    return time.monotonic() - STARTED


class JsonReport:
    """One JSON object a line on stdout: {"event": ..., "seconds": ..., ...}."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def _write(self, event: str, **fields: object) -> None:
        with self._lock:
            print(json.dumps({"event": event, "seconds": round(since_start(), 2)} | fields), flush=True)

    def step(self, text: str) -> None:
        self._write("step", text=text)

    def ready(self, ready: Ready) -> None:
        self._write("ready", **asdict(ready))

    def answering(self, answering: Answering) -> None:
        self._write("answering", **asdict(answering))

    def trouble(self, text: str) -> None:
        self._write("trouble", text=text)


class PeopleReport:
    """For a terminal."""

    def step(self, text: str) -> None:
        print(f"{since_start():6.1f} s  {text}", flush=True)

    def trouble(self, text: str) -> None:
        print(f"\nslipway: {text}\n", file=sys.stderr, flush=True)

    def ready(self, ready: Ready) -> None:
        password = ready.password or "as it was printed at the first start"
        print(
            f"\n  Studio       {ready.address}\n"
            f"  User         {ready.user}\n"
            f"  Password     {password}   (a new one: make password)\n"
            f"  kubectl      export KUBECONFIG={ready.kubeconfig}\n",
            flush=True,
        )

    def answering(self, answering: Answering) -> None:
        print(
            f"\n  iris answers: {json.dumps(answering.prediction)}\n"
            f"\n  Ask it yourself, with curl:\n\n{as_curl(answering)}\n"
            f"\n  or with Python:\n\n{as_python(answering)}\n"
            f"\n  Ready {since_start():.1f} s after the start. Ctrl-C stops everything; make up starts it again.\n",
            flush=True,
        )


def as_curl(answering: Answering) -> str:
    """A command to paste into a shell."""
    return (
        f"curl {answering.scoring_uri} \\\n"
        f"  -H 'Authorization: Bearer {answering.key}' \\\n"
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d '{answering.request}'"
    )


def as_python(answering: Answering) -> str:
    """Lines to paste into Python; the standard library is enough."""
    return (
        "import json, urllib.request\n"
        f"request = urllib.request.Request({answering.scoring_uri!r},\n"
        f"    data={answering.request.encode()!r},\n"
        f"    headers={{'Authorization': 'Bearer {answering.key}', 'Content-Type': 'application/json'}})\n"
        "print(json.load(urllib.request.urlopen(request)))"
    )

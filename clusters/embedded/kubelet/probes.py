"""Probes: one look at a container (exec, HTTP, TCP), and the counting of looks.

A look goes to the pod's own address. A listener on 0.0.0.0 of another pod answers there too, so a good answer
is believed only when the listening socket belongs to this pod's processes (``sockets.py``).
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from clusters.embedded.kubelet.process import ExecResult
from clusters.embedded.resources import Obj

_BODY_SHOWN: Final = 1024


class Target(Protocol):
    """The container that is looked at."""

    @property
    def pod_ip(self) -> str: ...

    async def execute(self, argv: list[str], *, timeout_seconds: float) -> ExecResult: ...

    def owns_listener(self, host: str, *, port: int) -> bool: ...


@dataclass(frozen=True)
class Outcome:
    ok: bool
    message: str = ""


@dataclass(frozen=True)
class ProbeSettings:
    initial_delay: float
    period: float
    timeout: float
    successes: int
    failures: int

    @classmethod
    def of(cls, probe: Obj) -> "ProbeSettings":
        return cls(
            initial_delay=float(probe.get("initialDelaySeconds") or 0),
            period=float(probe.get("periodSeconds") or 10),
            timeout=float(probe.get("timeoutSeconds") or 1),
            successes=int(probe.get("successThreshold") or 1),
            failures=int(probe.get("failureThreshold") or 3),
        )


class Tally:
    """Turns single outcomes into a verdict by the thresholds."""

    def __init__(self, settings: ProbeSettings, *, verdict: bool) -> None:
        self._settings = settings
        self.verdict = verdict
        self._run = 0
        self._last: bool | None = None

    def count(self, ok: bool) -> bool:
        """Note one outcome; True when a threshold was reached just now or before in this run."""
        self._run = self._run + 1 if ok == self._last else 1
        self._last = ok
        needed = self._settings.successes if ok else self._settings.failures
        if self._run < needed:
            return False
        self.verdict = ok
        return True


async def look(probe: Obj, *, container: Obj, target: Target) -> Outcome:
    """Run one probe (or an HTTP or exec hook) once. Never raises for what the container does wrong."""
    timeout = ProbeSettings.of(probe).timeout
    if action := probe.get("exec"):
        return await _exec(action, target=target, timeout=timeout)
    if action := probe.get("httpGet"):
        return await _guarded(_http(action, container=container, target=target, timeout=timeout))
    if action := probe.get("tcpSocket"):
        return await _guarded(_tcp(action, container=container, target=target, timeout=timeout))
    kind = "grpc" if "grpc" in probe else "none"
    return Outcome(False, f"the embedded cluster has no probe of kind {kind}")


async def _guarded(attempt: Awaitable[Outcome]) -> Outcome:
    try:
        return await attempt
    except ValueError as error:
        return Outcome(False, str(error))


async def _exec(action: Obj, *, target: Target, timeout: float) -> Outcome:  # noqa: ASYNC109 - data, not a scope
    command = [str(word) for word in action.get("command") or ()]
    result = await target.execute(command, timeout_seconds=timeout)
    if result.timed_out:
        return Outcome(False, f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s')
    return Outcome(result.exit_code == 0, result.output.strip()[:_BODY_SHOWN])


async def _tcp(action: Obj, *, container: Obj, target: Target, timeout: float) -> Outcome:  # noqa: ASYNC109
    host = str(action.get("host") or target.pod_ip)
    port = named_port(action["port"], container=container)
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        return Outcome(False, dial_error(error, host=host, port=port))
    writer.close()
    return _believed(host, port=port, target=target, outcome=Outcome(True))


async def _http(action: Obj, *, container: Obj, target: Target, timeout: float) -> Outcome:  # noqa: ASYNC109
    host = str(action.get("host") or target.pod_ip)
    port = named_port(action["port"], container=container)
    path = action.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    scheme = str(action.get("scheme") or "HTTP").lower()
    url = f"{scheme}://{host}:{port}{path}"
    try:
        async with asyncio.timeout(timeout):
            status, body = await _get(action, host=host, port=port, path=path, tls=scheme == "https")
    except TimeoutError:
        return Outcome(
            False,
            f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
        )
    except (OSError, EOFError) as error:
        return Outcome(False, f'Get "{url}": {dial_error(error, host=host, port=port)}')
    outcome = Outcome(200 <= status < 400, f"HTTP probe failed with statuscode: {status}")
    return _believed(host, port=port, target=target, outcome=Outcome(True, body) if outcome.ok else outcome)


async def _get(action: Obj, *, host: str, port: int, path: str, tls: bool) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection(host, port, ssl=_any_certificate() if tls else None)
    try:
        headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.33", "Accept": "*/*"}
        headers |= {str(item["name"]): str(item["value"]) for item in action.get("httpHeaders") or ()}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write(("\r\n".join([*lines, "Connection: close", "", ""])).encode())
        words = (await reader.readline()).decode(errors="replace").split()
        if len(words) < 2 or not words[1].isdigit():
            raise EOFError("EOF")
        return int(words[1]), ""
    finally:
        writer.close()


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # probes never check certificates, on any cluster
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _believed(host: str, *, port: int, target: Target, outcome: Outcome) -> Outcome:
    if outcome.ok and host == target.pod_ip and not target.owns_listener(host, port=port):
        return Outcome(False, f"{host}:{port} is answered by a process of another pod, which listens on 0.0.0.0")
    return outcome


def dial_error(error: Exception, *, host: str, port: int) -> str:
    """In the words a kubelet's log has."""
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {host}:{port}: connect: connection refused"
    if isinstance(error, TimeoutError):
        return f"dial tcp {host}:{port}: i/o timeout"
    return str(error) or "EOF"


def named_port(port: Any, *, container: Obj) -> int:
    """A number, or the containerPort of that name. Raises ValueError."""
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for entry in container.get("ports") or ():
        if entry.get("name") == port:
            return int(entry["containerPort"])
    raise ValueError(f"couldn't find port name {port!r} in container {container['name']!r}")


async def repeat(probe: Obj, *, attempt: Callable[[], Awaitable[Outcome]], report: Callable[[Outcome], bool]) -> None:
    """Look every period, until ``report`` answers True."""
    settings = ProbeSettings.of(probe)
    if settings.initial_delay:
        await asyncio.sleep(settings.initial_delay)
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        if report(await attempt()):
            return
        await asyncio.sleep(max(0.0, settings.period - (loop.time() - began)))

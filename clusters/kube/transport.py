"""Bytes to and from one API server: TLS, credentials, time limits, and where a connection may lead.

The official client brings the pool (proxies of this machine, keep-alive); answers are read raw, because its typed
models cost five times the CPU and raise on objects that are merely unusual.

Two things are done here because an operator's kubeconfig names the address:
  * the peer is checked after the name was resolved, on the connected socket, so that no name leads to the metadata
    service of the machine the studio runs on;
  * redirects are never followed: the answer is given back as it is.
"""

import http.client
import ipaddress
import os
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from kubernetes.client import ApiClient, Configuration
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

from clusters.kube.connection import Connection
from clusters.kube.errors import Unreachable, error_of
from clusters.kube.explain import RefusedAddressError, explain

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """A whole answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


_NEVER = (
    ipaddress.ip_network("169.254.0.0/16"),  # link-local: metadata services
    ipaddress.ip_network("fe80::/10"),
    ipaddress.ip_network("fd00:ec2::/32"),
    ipaddress.ip_network("100.100.100.200/32"),
)


def refuse_address(address: str) -> None:
    """Raise RefusedAddressError for metadata services, multicast and the unspecified address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    if ip.is_multicast or ip.is_unspecified or any(ip in network for network in _NEVER):
        raise RefusedAddressError(f"{ip} is an address Slipway never connects to")


class _CheckedConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        try:
            refuse_address(sock.getpeername()[0])
        except BaseException:
            sock.close()
            raise
        return sock


class _CheckedPool(HTTPSConnectionPool):
    ConnectionCls = _CheckedConnection


def _tls(connection: Connection) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=connection.ca_data or None)
    if connection.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if connection.client_certificate:
        _load_pair(context, connection)
    return context


def _load_pair(context: ssl.SSLContext, connection: Connection) -> None:
    """OpenSSL reads the pair from a file only; it is there for this one moment, for this user alone."""
    handle, name = tempfile.mkstemp(prefix="slipway-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(connection.client_certificate + "\n" + connection.client_key)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()


def _pool(connection: Connection) -> urllib3.PoolManager:
    configuration = Configuration(host=connection.server)
    configuration.keep_alive = True
    configuration.verify_ssl = not connection.insecure
    configuration.tls_server_name = connection.tls_server_name or None
    configuration.retries = urllib3.Retry(total=False)  # neither retries nor redirects
    configuration.connection_pool_maxsize = 16
    host = urlsplit(connection.server).hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        configuration.proxy = None
    pool: urllib3.PoolManager = ApiClient(configuration).rest_client.pool_manager
    pool.connection_pool_kw["ssl_context"] = _tls(connection)
    if not isinstance(pool, urllib3.ProxyManager):
        pool.pool_classes_by_scheme = {"https": _CheckedPool}
    return pool


class Stream:
    """An answer that is read as it comes, line by line; `close` may be called from another thread."""

    def __init__(self, response: Any, *, subject: str, stop: Callable[[], bool]) -> None:
        self._response = response
        self._subject = subject
        self._stop = stop

    def lines(self) -> Any:
        """Iterator of lines as bytes without the line break. Ends at the end of the answer or when asked to stop."""
        rest = b""
        try:
            for chunk in self._response.stream(64 * 1024):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
                if self._stop():
                    return
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            if self._stop():
                return
            raise Unreachable(self._subject, cause=f"the answer broke off ({explain(error)})") from error
        if rest:
            yield rest

    def interrupt(self) -> None:
        """Wake a reader that is blocked in `lines`."""
        try:
            self._response.shutdown()
        except (OSError, ValueError, RuntimeError):
            self._response.close()

    def close(self) -> None:
        self._response.close()


class Transport:
    """Requests to one API server. Thread-safe."""

    def __init__(self, connection: Connection) -> None:
        self._server = connection.server
        self._pool = _pool(connection)
        self._headers = {"User-Agent": "slipway", "Accept": "application/json"}
        if connection.token:
            self._headers["Authorization"] = f"Bearer {connection.token}"
        self._streams = _Streams()

    def send(
        self,
        method: str,
        path: str,
        *,
        subject: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = READ_SECONDS,
    ) -> Answer:
        """One request, whatever its status. Raises Unreachable when there is no answer within `timeout` seconds."""
        response = self._request(method, path, subject=subject, body=body, headers=headers, timeout=timeout)
        try:
            data = response.read()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(subject, cause=f"the answer of {self._server} broke off ({explain(error)})") from error
        finally:
            response.release_conn()
        return Answer(
            status=response.status, headers={k.lower(): v for k, v in response.headers.items()}, body=bytes(data)
        )

    def stream(self, path: str, *, subject: str, stop: threading.Event, quiet: float) -> Stream:
        """Begin a GET whose answer goes on. `quiet`: seconds without a byte after which the way counts as broken.

        Raises the KubeError of the status when it is not 2xx. The caller closes the Stream.
        """
        response = self._request("GET", path, subject=subject, timeout=quiet)
        if not 200 <= response.status < 300:
            body = response.read()
            response.release_conn()
            raise error_of(response.status, body=bytes(body), subject=subject)
        stream = Stream(response, subject=subject, stop=stop.is_set)
        self._streams.watch_over(stream, stop=stop)
        return stream

    def forget(self, stream: Stream) -> None:
        self._streams.forget(stream)
        stream.close()

    def close(self) -> None:
        self._streams.interrupt_all()
        self._pool.clear()

    def _request(
        self,
        method: str,
        path: str,
        *,
        subject: str,
        timeout: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        limits = urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout), read=timeout)
        for attempt in (1, 2):
            try:
                return self._pool.request(
                    method,
                    self._server + path,
                    body=body,
                    headers=self._headers | dict(headers or {}),
                    timeout=limits,
                    preload_content=False,
                    redirect=False,
                )
            except urllib3.exceptions.ProtocolError as error:
                # An idle connection the server closed at this very moment: reading again does no harm.
                if method == "GET" and attempt == 1:
                    continue
                raise Unreachable(subject, cause=f"{self._server} broke off ({explain(error)})") from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise Unreachable(subject, cause=f"{self._server} {explain(error)}") from error
        raise AssertionError("unreachable")


class _Streams:
    """Wakes readers of streams whose stop event is set: one small thread while there are streams, none otherwise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Stream, threading.Event] = {}
        self._running = False

    def watch_over(self, stream: Stream, *, stop: threading.Event) -> None:
        with self._lock:
            self._open[stream] = stop
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="kube-streams", daemon=True).start()

    def forget(self, stream: Stream) -> None:
        with self._lock:
            self._open.pop(stream, None)

    def interrupt_all(self) -> None:
        with self._lock:
            streams = list(self._open)
        for stream in streams:
            stream.interrupt()

    def _run(self) -> None:
        while True:
            time.sleep(0.2)
            with self._lock:
                stopped = [stream for stream, stop in self._open.items() if stop.is_set()]
                for stream in stopped:
                    del self._open[stream]
                if not self._open and not stopped:
                    self._running = False
                    return
            for stream in stopped:
                stream.interrupt()

"""A real artifact cache in a process of its own, and a network between it and its callers that can be cut."""

import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

UPLOAD_TOKEN = "upload-token-of-the-test"
SIGNING_KEY = "signing-key-of-the-test"


@dataclass
class RunningCache:
    """A cache process; `url` leads to it."""

    directory: Path
    process: subprocess.Popen[str] | None = None
    url: str = ""

    def start(self) -> None:
        environment = os.environ | {
            "ROUTERD_ARTIFACTS_UPLOAD_TOKEN": UPLOAD_TOKEN,
            "ROUTERD_ARTIFACTS_SIGNING_KEY": SIGNING_KEY,
        }
        port = self.url.rpartition(":")[2] or "0"
        command = [sys.executable, "-m", "routerd.artifacts", "serve", "--dir", str(self.directory)]
        self.process = subprocess.Popen(
            [*command, "--bind", "127.0.0.1", "--port", port],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if match := re.search(r"Serving artifacts on (http://\S+)", line):
                self.url = match[1]
                return
        raise AssertionError("the cache ended before it listened")

    def stop(self, *, kill: bool = False) -> None:
        if self.process is None:
            return
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(timeout=15)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process = None

    def request(self, method: str, path: str, *, token: str | None = UPLOAD_TOKEN, **options: Any) -> httpx.Response:
        headers = options.pop("headers", {}) | ({"x-slipway-token": token} if token is not None else {})
        return httpx.request(method, self.url + path, headers=headers, trust_env=False, timeout=20, **options)

    def put(self, digest: str, *, offset: int, total: int, data: bytes, **options: Any) -> httpx.Response:
        path = f"/v1/blobs/{digest}?offset={offset}&total={total}"
        return self.request("PUT", path, content=data, **options)


class Wire:
    """A TCP relay to `target` whose connections end after so many bytes towards the client, one limit each."""

    def __init__(self, target: str, *, limits: list[int]) -> None:
        host, _, port = target.removeprefix("http://").rpartition(":")
        self.limits, self.requests = limits, 0
        self._server: socket.socket | None = None
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._server is not None:
            with suppress(OSError):  # it may be closed already
                self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            limit = self.limits[self.requests] if self.requests < len(self.limits) else 1 << 40
            self.requests += 1
            with client, socket.create_connection(self._target) as server:
                self._server = server
                server.sendall(client.recv(65536))  # a GET's head fits one segment on loopback
                while limit > 0 and (data := server.recv(min(limit, 65536))):
                    client.sendall(data)
                    limit -= len(data)

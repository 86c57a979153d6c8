"""The snippets of the Consume tab really work when pasted."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deployments.regions.consume import curl_command, python_program

KEY = "q7Lm-_'x"
BODY = '{"name": "O\'Hara \\"quoted\\" $HOME", "n": [1, 2]}'


@dataclass
class Callee:
    """A server that remembers what it was asked."""

    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def callee() -> Iterator[Callee]:
    seen = Callee()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            seen.asked.append((self.headers.get("Authorization", ""), body))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"answered")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    seen.url = f"http://127.0.0.1:{server.server_address[1]}/api/v1/endpoint/iris/score"
    yield seen
    server.shutdown()
    thread.join()
    server.server_close()


def run(*command: str, **env: str) -> str:
    env = {"PATH": "/usr/bin:/bin", **env}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("shown", [KEY, ""])
def test_the_curl_command_works_in_a_shell(shown: str, callee: Callee) -> None:
    command = curl_command(callee.url, body=BODY, by_key=True, key=shown)
    assert run("sh", "-c", command, **({} if shown else {"SLIPWAY_KEY": KEY})) == "answered"
    assert callee.asked == [(f"Bearer {KEY}", BODY)]


@pytest.mark.parametrize("shown", [KEY, ""])
def test_the_python_program_works_without_a_package(shown: str, callee: Callee) -> None:
    program = python_program(callee.url, body=BODY, by_key=True, key=shown)
    told = run(sys.executable, "-I", "-c", program, **({} if shown else {"SLIPWAY_KEY": KEY}))
    assert told.strip() == "answered"
    assert callee.asked == [(f"Bearer {KEY}", BODY)]


def test_without_keys_no_header_is_sent(callee: Callee) -> None:
    run("sh", "-c", curl_command(callee.url, body=BODY, by_key=False, key=""))
    assert callee.asked == [("", BODY)]
    assert json.loads(callee.asked[0][1])["n"] == [1, 2]

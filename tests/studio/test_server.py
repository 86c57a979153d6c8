"""The studio as a process: starts, says when it is ready, and ends when it is told to."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from studio.server import PortTakenError, bind
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, threading
os.environ["DJANGO_SETTINGS_MODULE"] = "studio.settings"
from studio.env import read_env
from studio.server import run_server
waits = threading.Event()
def ready():
    print("ready", flush=True)
    if "SLIPWAY_TEST_WAITS" in os.environ:
        waits.wait(60)
left = run_server(env=read_env(), ready=ready, ending=waits.set)
print("left", left, flush=True)
"""


class StudioProcess:
    """run_server in a process of its own, with a home of its own."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.port = free_port()
        self.env = {**os.environ, "SLIPWAY_HOME": str(home), "SLIPWAY_PORT": str(self.port), **environment}
        self.env.pop("DJANGO_SETTINGS_MODULE", None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, env=self.env, stdout=subprocess.PIPE, text=True
        )

    def wait_for(self, start: str) -> str:
        """The next line of output that begins with `start`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(start):
                return line.strip()
        raise AssertionError(f"The studio ended without saying {start!r}.")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


START = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "studio.settings"
import studio.asgi, studio.server, studio.up.prepare, studio.up.sample
print([name for name in sys.argv[1:] if name in sys.modules])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a database."""
    path = tmp_path_factory.mktemp("home")
    env = {**os.environ, "SLIPWAY_HOME": str(path)}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=env, check=True)
    return path


@pytest.fixture
def studio(home: Path) -> Iterator[StudioProcess]:
    started = StudioProcess(home)
    yield started
    started.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_and_ends_within_five_seconds_with_a_socket_open(number: int, studio: StudioProcess) -> None:
    studio.wait_for("ready")
    url = f"http://127.0.0.1:{studio.port}"
    page = httpx.get(f"{url}/sign-in")
    assert page.status_code == 200
    style = page.text.split('rel="stylesheet" href="')[1].split('"')[0]
    served = httpx.get(url + style, headers={"Accept-Encoding": "gzip"})
    assert served.headers["Content-Encoding"] == "gzip"
    assert "immutable" in served.headers["Cache-Control"]
    with connect(f"ws://127.0.0.1:{studio.port}/live", origin=url, proxy=None) as open_socket:  # type: ignore[arg-type]
        began = time.monotonic()
        studio.process.send_signal(number)
        with pytest.raises(ConnectionClosed):
            open_socket.recv(timeout=10)
    assert studio.wait_for("left") == "left []"
    assert studio.process.wait(10) == 0
    assert time.monotonic() - began < 5


def test_told_to_end_while_something_waits_for_the_first_answers_it_ends_at_once(home: Path) -> None:
    studio = StudioProcess(home, SLIPWAY_TEST_WAITS="1")
    try:
        studio.wait_for("ready")
        assert httpx.get(f"http://127.0.0.1:{studio.port}/sign-in").status_code == 200
        began = time.monotonic()
        studio.process.send_signal(signal.SIGTERM)
        assert studio.wait_for("left") == "left []"
        assert studio.process.wait(10) == 0
        assert time.monotonic() - began < 5
    finally:
        studio.end()


def test_a_taken_port_is_one_clear_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"cannot listen on 127.0.0.1:{port}: address already in use"):
            bind("127.0.0.1", port)


def test_whoever_waits_for_the_first_page_does_not_wait_for_what_comes_later(home: Path) -> None:
    """Each of these takes as long to import as Django itself, and the first page needs none of them."""
    env = {**os.environ, "SLIPWAY_HOME": str(home)}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    late = ["celery", "kubernetes", "plotly", "ninja", "httpx", "django.contrib.admin"]
    done = subprocess.run(
        [sys.executable, "-c", START, *late], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

"""One whole Slipway for all flows: `python -m studio.up` in a process of its own, as `make up` starts it."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ports import free_port
from tests.studio_client import StudioClient

ROOT = Path(__file__).resolve().parents[1]
MODELS = Path(__file__).parent / "models"
SETTINGS = {
    "environment": "light:1",
    "code_configuration.scoring_script": "score.py",
    "instance_type": "small",
    "scale_settings.type": "target_utilization",
    "scale_settings.min_instances": "1",
    "scale_settings.max_instances": "3",
    "scale_settings.target_utilization_percentage": "70",
    "scale_settings.scale_down_delay_seconds": "5",
    "request_settings.max_concurrent_requests_per_instance": "1",
    "request_settings.max_queue_wait_ms": "15000",
    "request_settings.request_timeout_ms": "15000",
}


class Slipway:
    """A home with a studio that can be stopped, killed and started again."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self._settings = settings
        self.port, self.router_port = free_port(), free_port()
        self.events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self.process: subprocess.Popen[str] | None = None
        self.password = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        return self.home / "cluster" / "kubeconfig"

    def uri(self, endpoint: str) -> str:
        return f"http://127.0.0.1:{self.router_port}/api/v1/endpoint/{endpoint}/score"

    def start(self) -> None:
        """Start the studio; `wait_for` tells how far it is."""
        self.events = []  # a list of this process alone: what ends an earlier one comes too late for it
        environment = os.environ | {
            "SLIPWAY_HOME": str(self.home),
            "SLIPWAY_PORT": str(self.port),
            "SLIPWAY_ROUTER_PORT": str(self.router_port),
        }
        environment |= self._settings
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        log = (self.home.parent / "studio.log").open("a")
        command = [sys.executable, "-m", "studio.up", "--json"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
        log.close()
        threading.Thread(target=self._read, args=(self.process, self.events), daemon=True).start()

    def _read(self, process: subprocess.Popen[str], events: list[dict[str, Any]]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if line.startswith("{"):
                    self._note(json.loads(line), events)
        process.wait()
        self._note({"event": "ended", "code": process.returncode}, events)

    def _note(self, event: dict[str, Any], events: list[dict[str, Any]]) -> None:
        with self._changed:
            events.append(event)
            if event.get("password"):
                self.password = event["password"]
            self._changed.notify_all()

    def wait_for(self, name: str, *, seconds: float) -> dict[str, Any]:
        """The first event of that name since the start; fails at once when the studio ends or is in trouble."""

        def found() -> dict[str, Any] | None:
            return next((e for e in self.events if e["event"] in {name, "ended", "trouble"}), None)

        with self._changed:
            assert self._changed.wait_for(found, seconds), f"no {name} after {seconds} s: {self.events}"
            event = found()
        assert event is not None
        assert event["event"] == name, self.events
        return event

    def wait_for_step(self, text: str, *, seconds: float) -> None:
        """Return when the start has told a step with this text."""

        def told() -> bool:
            return any(text in event.get("text", "") or event["event"] == "ended" for event in self.events)

        with self._changed:
            assert self._changed.wait_for(told, seconds), f"no {text} after {seconds} s: {self.events}"
        assert self.events[-1]["event"] != "ended", self.events

    def sign_in(self) -> StudioClient:
        return StudioClient(self.address, user="admin", password=self.password)

    def stop(self, *, how: signal.Signals = signal.SIGTERM) -> None:
        """End the studio and wait until it is gone."""
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(40)

    def processes(self) -> dict[int, str]:
        """Pid and command line of everything this home runs: it shows in the command line, environment or mounts."""
        mark = str(self.home.parent).encode()
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                with suppress(OSError):  # it ended meanwhile
                    command = (folder / "cmdline").read_bytes()
                    if mark in command + (folder / "environ").read_bytes() + (folder / "mountinfo").read_bytes():
                        found[int(folder.name)] = command.decode(errors="replace").replace("\0", " ").strip()
        return found

    def routerd_control(self) -> int:
        """Pid of routerd's control process: the `python -m routerd` whose parent is another one."""
        routerds = {pid for pid, command in self.processes().items() if command.endswith("-m routerd")}
        children = [pid for pid in routerds if parent_of(pid) in routerds]
        assert len(children) == 1, self.processes()
        return children[0]

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints."""
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def ask(uri: str, key: str, *, body: str = "{}") -> httpx.Response:
    """One call, as a caller makes it."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    return httpx.post(uri, headers=headers, content=body, timeout=20)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(scope="session")
def slipway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slipway]:
    """A studio whose first run is over: `iris` answers."""
    one = Slipway(tmp_path_factory.mktemp("slipway") / "home")
    one.start()
    try:
        one.wait_for("answering", seconds=240)
        yield one
    finally:
        one.stop()
        assert one.processes() == {}


@pytest.fixture(scope="session")
def light(slipway: Slipway) -> None:
    """An environment with the scoring server alone, so that its build takes seconds."""
    with slipway.sign_in() as client:
        client.form("environments/new", {"name": "light", "requirements": "azureml-inference-server-http==1.5.1\n"})


@pytest.fixture
def studio(slipway: Slipway) -> Iterator[StudioClient]:
    """A signed-in person."""
    with slipway.sign_in() as client:
        yield client

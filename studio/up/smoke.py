"""`make smoke`: the newcomer's way in a throw-away home, on free ports, told as one line of JSON.

{"ready_seconds": 3.1, "deploy_seconds": 41.0, "status": 200, "prediction": {...}}
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.up.ports import pick_free

STOP_SECONDS = 30


def run_smoke() -> int:
    """Start Slipway as its user would, wait for the sample's answer, stop it; 0 when the answer was a 200."""
    with tempfile.TemporaryDirectory(prefix="slipway-smoke-", ignore_cleanup_errors=True) as home:
        process = start(Path(home))
        signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
        try:
            outcome = follow(process)
        finally:
            stop(process)
    print(json.dumps(outcome), flush=True)
    return 0 if outcome.get("status") == 200 else 1


def start(home: Path) -> subprocess.Popen[str]:
    environment = os.environ | {
        "SLIPWAY_HOME": str(home / "home"),
        "SLIPWAY_PORT": str(pick_free()),
        "SLIPWAY_ROUTER_PORT": str(pick_free()),
    }
    command = [sys.executable, "-m", "studio.up", "--json"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def follow(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What the run came to; what it says meanwhile goes to stderr."""
    outcome: dict[str, Any] = {"ready_seconds": None, "deploy_seconds": None, "status": None, "prediction": None}
    for event in events(process):
        if event["event"] == "ready":
            outcome["ready_seconds"] = event["seconds"]
        elif event["event"] == "answering":
            return outcome | {name: event[name] for name in ("deploy_seconds", "status", "prediction")}
        elif event["event"] == "trouble":
            return outcome | {"error": event["text"]}
        else:
            print(f"{event['seconds']:6.1f} s  {event['text']}", file=sys.stderr, flush=True)
    return outcome | {"error": "it ended before the sample answered"}


def events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """The JSON lines of `python -m studio.up --json`."""
    assert process.stdout is not None  # noqa: S101 - stdout=PIPE
    for line in process.stdout:
        if line.startswith("{"):
            yield json.loads(line)


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()

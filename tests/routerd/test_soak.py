"""The short form of `make soak-router`, and the rule by which it judges."""

import json
import subprocess
import sys

import pytest

from benchmarks.soak_router.load import HAPROXY_KILLED, REPLICA_KILLED, UNEXPLAINED, Event, Outcome, explain
from tests.whole import ROOT

EVENTS = (Event(REPLICA_KILLED, 10.0, 11.0), Event("keys_rotated", 20.0, 21.0), Event(HAPROXY_KILLED, 30.0, 31.0))


@pytest.mark.parametrize(
    ("sent", "ended", "status", "why"),
    [
        (9.9, 10.1, 502, REPLICA_KILLED),
        (9.9, 10.1, 0, REPLICA_KILLED),
        (9.9, 10.1, 503, UNEXPLAINED),  # what was not sent to the replica goes to another
        (10.1, 10.9, 0, UNEXPLAINED),
        (10.1, 10.9, 502, UNEXPLAINED),  # it was dead before the request came
        (20.1, 20.2, 401, UNEXPLAINED),  # a rotation loses nothing
        (29.9, 30.1, 0, HAPROXY_KILLED),
        (30.5, 30.6, 0, HAPROXY_KILLED),
        (31.1, 31.2, 0, UNEXPLAINED),  # it was back
        (30.5, 30.6, 404, UNEXPLAINED),  # it comes back with the last table
        (9.9, 30.1, 504, UNEXPLAINED),
    ],
)
def test_only_what_the_rule_allows_is_explained(sent: float, ended: float, status: int, why: str) -> None:
    assert explain(Outcome(1, sent, ended, status), events=EVENTS) == why


def test_a_turn_of_every_change_loses_only_what_the_rule_allows() -> None:
    command = [sys.executable, "-m", "benchmarks.soak_router", "--seconds", "1", "--rate", "40"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)

    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["unexplained"] == 0, report
    assert report["ok"] > 100
    assert set(report["events"]) == {
        *("replica_added", "replica_killed", "replicas_rolled", "deployment_replaced"),
        *("keys_rotated", "python_killed", "api_server_paused", "haproxy_killed"),
    }

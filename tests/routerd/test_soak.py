"""The short form of `make soak-router`, and the rule by which it judges."""

import json
import subprocess
import sys

import pytest

from benchmarks.soak_router.rule import (
    HAPROXY_KILLED,
    REPLICA_KILLED,
    ROUTER_KILLED,
    UNEXPLAINED,
    Event,
    Killed,
    Outcome,
    explain,
)
from tests.whole import ROOT

OWNER, OTHER, STAYS = "127.125.0.1", "127.125.0.2", "127.125.0.3"
BROKE_OFF = "router_broke_off"
EVENTS = (
    Event(REPLICA_KILLED, 10.0, 11.0),
    Event("keys_rotated", 20.0, 21.0),
    Event("certificate_swapped", 22.0, 23.0),
    Event("router_added", 24.0, 25.0),
    Event("router_removed", 26.0, 27.0),
    Event(HAPROXY_KILLED, 30.0, 31.0, Killed(OWNER, gone=30.1, owner=True)),
    Event(HAPROXY_KILLED, 40.0, 41.0, Killed(OTHER, gone=40.1, owner=False)),
    Event(ROUTER_KILLED, 50.0, 52.0, Killed(OWNER, gone=50.1, owner=True)),
    Event(ROUTER_KILLED, 60.0, 62.0, Killed(OTHER, gone=60.1, owner=False)),
)


@pytest.mark.parametrize(
    ("sent", "ended", "status", "why"),
    [
        (9.9, 10.1, 502, REPLICA_KILLED),
        (9.9, 10.1, 0, REPLICA_KILLED),
        (9.9, 10.1, 503, UNEXPLAINED),  # what was not sent to the replica goes to another
        (10.1, 10.9, 0, UNEXPLAINED),
        (10.1, 10.9, 502, UNEXPLAINED),  # it was dead before the request came
        (20.1, 20.2, 401, UNEXPLAINED),  # a rotation loses nothing
        (22.1, 22.2, 0, UNEXPLAINED),  # nor does a new certificate,
        (24.1, 24.2, 0, UNEXPLAINED),  # a router that joins
        (26.1, 26.2, 0, UNEXPLAINED),  # or one that leaves,
        (26.1, 26.2, 502, UNEXPLAINED),
        (29.9, 30.1, 0, HAPROXY_KILLED),
        (30.5, 30.6, 0, HAPROXY_KILLED),
        (31.1, 31.2, 0, UNEXPLAINED),  # it was back
        (30.5, 30.6, 404, UNEXPLAINED),  # it comes back with the last table
        (9.9, 30.1, 504, UNEXPLAINED),
    ],
)
def test_only_what_the_rule_allows_is_explained(sent: float, ended: float, status: int, why: str) -> None:
    assert explain(Outcome(1, sent, ended, status, through=OWNER), events=EVENTS) == why


@pytest.mark.parametrize(
    ("through", "sent", "status", "reason", "why"),
    [
        (OWNER, 49.9, 0, "", ROUTER_KILLED),
        (OWNER, 50.3, 0, "", UNEXPLAINED),  # nobody should have been sent there any more
        (STAYS, 49.9, 502, BROKE_OFF, ROUTER_KILLED),  # it stood in the line of the one that died
        (STAYS, 49.9, 0, "", ROUTER_KILLED),
        (STAYS, 49.9, 502, "model_broke_off", UNEXPLAINED),
        (STAYS, 49.9, 503, "no_replica", UNEXPLAINED),
        (STAYS, 50.3, 502, BROKE_OFF, UNEXPLAINED),  # it is left aside from then on
        (OTHER, 59.9, 0, "", ROUTER_KILLED),
        (STAYS, 59.9, 502, BROKE_OFF, UNEXPLAINED),  # it had nobody's requests but its own callers'
        (STAYS, 29.9, 502, BROKE_OFF, HAPROXY_KILLED),
        (STAYS, 30.5, 502, BROKE_OFF, UNEXPLAINED),
        (OTHER, 40.5, 0, "", HAPROXY_KILLED),
        (STAYS, 39.9, 0, "", UNEXPLAINED),
    ],
)
def test_of_a_router_only_what_it_had_is_lost(through: str, sent: float, status: int, reason: str, why: str) -> None:
    assert explain(Outcome(1, sent, sent + 0.5, status, reason, through), events=EVENTS) == why


def test_a_turn_of_every_change_loses_only_what_the_rule_allows() -> None:
    command = [sys.executable, "-m", "benchmarks.soak_router", "--seconds", "1", "--rate", "40"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=230)

    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["unexplained"] == 0, report
    assert report["ok"] > 100
    assert report["ok_by_tls"] > 25
    assert report["routers_that_answered"] >= 3
    assert set(report["events"]) == {
        *("replica_added", "replica_killed", "replicas_rolled", "deployment_replaced"),
        *("keys_rotated", "certificate_swapped", "router_added", "router_removed", "router_killed"),
        *("python_killed", "api_server_paused", "haproxy_killed"),
    }

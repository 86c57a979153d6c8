"""kubectl's columns."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clusters.embedded.resources import BUILT_IN, PODS, SERVICES
from clusters.embedded.tables import jsonpath, pods, rows
from clusters.embedded.tables.age import age

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def pod(**status: Any) -> dict[str, Any]:
    containers = [{"name": "main"}]
    return {"metadata": {"name": "a"}, "spec": {"containers": containers}, "status": status}


def container(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "main", "state": state, **more}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (192, "3m12s"),
        (3600, "60m"),
        (7500, "125m"),
        (4 * 3600 + 300, "4h5m"),
        (20 * 3600, "20h"),
        (3 * 86400, "3d"),
        (3 * 86400 + 7200, "3d2h"),
        (90 * 86400, "90d"),
        (800 * 86400, "2y70d"),
        (-5, "0s"),
    ],
)
def test_ages_are_written_as_kubectl_writes_them(seconds: int, words: str) -> None:
    assert age((NOON - timedelta(seconds=seconds)).isoformat(), NOON) == words


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Running", "containerStatuses": [container({"running": {}}, ready=True)]}, "Running"),
        (
            {
                "phase": "Running",
                "containerStatuses": [container({"waiting": {"reason": "CrashLoopBackOff"}})],
            },
            "CrashLoopBackOff",
        ),
        (
            {"phase": "Failed", "containerStatuses": [container({"terminated": {"exitCode": 3}})]},
            "ExitCode:3",
        ),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
    ],
)
def test_a_pods_state_is_one_word(status: dict[str, Any], words: str) -> None:
    assert pods.pod_state(pod(**status), NOON) == words


def test_a_pod_that_initializes_or_ends_says_so() -> None:
    starting = pod(phase="Pending", initContainerStatuses=[container({"running": {}})])
    starting["spec"]["initContainers"] = [{"name": "main"}]
    assert pods.pod_state(starting, NOON) == "Init:0/1"
    ending = pod(phase="Running")
    ending["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    assert pods.pod_state(ending, NOON) == "Terminating"


def test_restarts_say_when_the_last_one_was() -> None:
    ended = {"terminated": {"finishedAt": "2026-11-21T11:59:00Z"}}
    again = pod(containerStatuses=[container({"running": {}}, restartCount=2, lastState=ended)])
    assert rows.cells(PODS, again, now=NOON)[3] == "2 (60s ago)"


def test_a_service_shows_its_addresses_and_ports() -> None:
    ports = [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]
    spec = {"type": "LoadBalancer", "clusterIP": "127.16.128.1", "ports": ports, "selector": {"a": "b"}}
    made = "2026-11-21T11:59:55Z"
    service = {"metadata": {"name": "s", "creationTimestamp": made}, "spec": spec, "status": {}}
    assert rows.cells(SERVICES, service, now=NOON) == [
        "s",
        "LoadBalancer",
        "127.16.128.1",
        "<pending>",
        "80:30080/TCP,53/UDP",
        "5s",
        "a=b",
    ]


@pytest.mark.parametrize("resource", BUILT_IN, ids=lambda r: r.qualified)
def test_every_kind_has_a_cell_for_each_column_even_when_empty(resource: Any) -> None:
    empty = {"metadata": {"name": "x"}, "spec": {}}
    cells = rows.cells(resource, empty, now=NOON)
    assert len(cells) == len(rows.columns(resource))
    assert all(isinstance(cell, str | int) for cell in cells)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.size", [3]),
        ("{.spec.size}", [3]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[0].type", ["Ready"]),
        (".status.conditions[*].type", ["Ready", "Other"]),
        (".metadata.labels.example\\.org/x", ["y"]),
        (".metadata.labels['example.org/x']", ["y"]),
        (".missing.deep", []),
        (".status.conditions[9].type", []),
        ("rubbish(", []),
    ],
)
def test_a_json_path_finds(path: str, found: list[Any]) -> None:
    conditions = [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]
    obj = {
        "metadata": {"labels": {"example.org/x": "y"}},
        "spec": {"size": 3},
        "status": {"conditions": conditions},
    }
    assert jsonpath.find(obj, path) == found

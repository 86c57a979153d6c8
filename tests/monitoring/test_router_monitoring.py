"""The dashboard and the alert rules ask for nothing that the router's metrics page does not have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from routerd.admin import metrics
from routerd.board import board_of
from routerd.daemon import Daemon
from routerd.haproxy.problems import ANSWERS
from routerd.meter import LoadMeter
from routerd.routes import RoutingTable
from routerd.samples import Requests, Sample
from routerd.settings import Settings
from tests.routerd.conftest import deployment, endpoint
from tests.whole import ROOT

FOLDER = ROOT / "deploy/monitoring"
_METRIC = re.compile(r"\b(?:routerd|process)_[a-z_]+\b")
_LABELLED = re.compile(r"((?:routerd|process)_[a-z_]+)\{([^}]*)\}")
_LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!=|!~|=)")
_FROM_PROMETHEUS = {"job", "instance"}  # put there by whoever scrapes the page


def page_of(tmp_path: Path, *, endpoints: int) -> str:
    """The metrics page of a router with so many endpoints of one deployment, each asked and sampled once."""
    daemon = Daemon(Settings(run_dir=tmp_path / "run"))
    routes = tuple(endpoint(deployment("blue"), name=f"e{number:04d}") for number in range(endpoints))
    daemon.reconciler.offer(RoutingTable(endpoints=routes))
    board = board_of(daemon)
    for reason in (*ANSWERS, "something a caller made up"):
        board.meter.refuse(reason)
    for route in routes:
        owner = (route.namespace, route.name, "blue")
        board.meter.totals[owner] = Requests(ok=1, refused=2, throttled=3, failed=4)
        board.meter.last_sample[owner] = sample_of(*owner)
    board.asked = {(route.namespace, route.name, "blue"): 2 for route in routes}
    return metrics.render(daemon, board=board, unmirrored=dict.fromkeys(board.asked, 3), dropped=0)


def sample_of(namespace: str, name: str, deployment_name: str) -> Sample:
    return Sample(
        at=1.0,
        namespace=namespace,
        endpoint=name,
        deployment=deployment_name,
        seconds=1.0,
        requests=Requests(ok=1),
        latency_ms=(1.0, 2.0, 3.0),
        in_flight=1.0,
        queued=0.0,
        concurrency=1,
        replicas_ready=1,
        replicas_wanted=2,
        held=0.0,
    )


@pytest.fixture
def labels(tmp_path: Path) -> dict[str, set[str]]:
    """Metric -> its labels, as the page has them."""
    page = page_of(tmp_path, endpoints=2)
    found: dict[str, set[str]] = {name: set() for name in re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)}
    for name, inside in re.findall(r"^([a-z_]+)\{(.*)\} ", page, re.MULTILINE):
        found[name] |= set(_LABEL.findall(inside))
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """(where it stands, PromQL) of every alert, panel and variable."""
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    board = dashboard()
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "router-dashboard.json").read_text())
    return found


def test_every_metric_and_label_asked_for_is_on_the_page(labels: dict[str, set[str]]) -> None:
    asked = list(expressions())
    unknown = {(where, name) for where, text in asked for name in _METRIC.findall(text) if name not in labels}
    wrong = {
        (where, name, label)
        for where, text in asked
        for name, inside in _LABELLED.findall(text)
        for label in _LABEL.findall(inside)
        if label not in labels.get(name, set()) | _FROM_PROMETHEUS
    }

    assert (unknown, wrong) == (set(), set())
    assert all(_METRIC.search(text) for _, text in asked)


def test_every_metric_of_the_routers_own_is_on_the_dashboard(labels: dict[str, set[str]]) -> None:
    shown = {name for _, text in expressions() for name in _METRIC.findall(text)}

    assert {name for name in labels if name.startswith("routerd_")} - shown == set()


def test_alerts_say_what_to_do() -> None:
    rules = [
        rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
    ]

    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_panels_have_numbers_and_places_of_their_own() -> None:
    panels = dashboard()["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_the_page_grows_with_deployments_and_with_nothing_callers_send(tmp_path: Path) -> None:
    few, many = page_of(tmp_path, endpoints=10), page_of(tmp_path, endpoints=110)

    lines = [len(page.splitlines()) for page in (few, many)]
    assert (lines[1] - lines[0]) / 100 <= 20
    assert len(many) / 110 < 2_000
    assert "made up" not in many


def test_a_reason_a_caller_made_up_is_not_counted() -> None:
    meter = LoadMeter()
    meter.refuse("a caller wrote this")

    assert meter.refusals == {}

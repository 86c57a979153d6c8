"""Hosts, CORS, stickiness: what of an OnlineEndpoint is taken, and what is told as wrong."""

from typing import Any

import pytest

from routerd.callers_spec import read_allowed_hosts, read_cors, read_hosts, read_sticky
from routerd.conditions import host_conditions, ready_condition
from routerd.control import Condition
from routerd.routes import HOST_NOT_ALLOWED, HOST_TAKEN, INVALID_SPEC, Cors, Problem, Sticky
from routerd.routing_table import build_table
from routerd.slots import SlotTable
from routerd.wanted import assign_slots, want
from tests.routerd.test_routing_table import online_endpoint
from tests.routerd.tokens import Signer, trusting

ALLOWED = {"team-a": ("credit.example.com", "*.models.example.com")}


def hosts_of(*hosts: str) -> tuple[tuple[str, ...], list[str]]:
    problems: list[Problem] = []
    found = read_hosts(list(hosts), namespace="team-a", allowed=ALLOWED, problems=problems)
    assert {problem.type for problem in problems} <= {"Hosts"}
    return found, [problem.reason for problem in problems]


def test_hosts_the_operator_allowed_are_taken_in_lower_case_and_once() -> None:
    found = hosts_of("Credit.Example.com", "credit.example.com.", "a.models.example.com")

    assert found == (("credit.example.com", "a.models.example.com"), [])


@pytest.mark.parametrize(
    "host", ["fraud.example.com", "models.example.com", "b.a.models.example.com", "xcredit.example.com", "localhost"]
)
def test_other_hosts_are_not(host: str) -> None:
    assert hosts_of(host) == ((), [HOST_NOT_ALLOWED])


@pytest.mark.parametrize("host", ["", "a b", "a;b", "*.models.example.com", "credit.example.com:80", "-a", "é.com"])
def test_what_is_no_host_name_is_told(host: str) -> None:
    assert hosts_of(host) == ((), [INVALID_SPEC])


def test_the_operators_list_says_namespace_and_host_a_line() -> None:
    lines = [
        "# theirs",
        "team-a credit.example.com",
        "team-a  *.A.example.com # all",
        "team-b x.example.com",
        "*",
        "a b c",
    ]

    assert read_allowed_hosts(lines) == {
        "team-a": ("credit.example.com", "*.a.example.com"),
        "team-b": ("x.example.com",),
    }
    assert read_allowed_hosts(["team-a *", "team-a *.*.com", "team-a a|b"]) == {}


def test_a_host_belongs_to_the_oldest_endpoint_and_the_younger_is_routed_without_it() -> None:
    old = online_endpoint("credit", hosts=["credit.example.com"])
    young = online_endpoint("fraud", hosts=["credit.example.com", "a.models.example.com"])
    young["metadata"]["creationTimestamp"] = "2026-02-02T00:00:00Z"

    table = build_table(endpoints=[young, old], slices=[], allowed_hosts=ALLOWED)

    credit, fraud = table.endpoints
    assert credit.hosts == ("credit.example.com",)
    assert fraud.hosts == ("a.models.example.com",)
    assert fraud.routed
    assert [(problem.type, problem.reason) for problem in fraud.problems] == [("Hosts", HOST_TAKEN)]
    (condition,) = host_conditions(fraud)
    assert (condition.status, condition.reason) == (False, HOST_TAKEN)
    assert "team-a/credit" in condition.message
    assert ready_condition(fraud, serving={"blue": 1, "green": 1}).status
    assert host_conditions(credit) == (Condition("Hosts", True, "Routed", "Answers as credit.example.com."),)
    assert host_conditions(build_table(endpoints=[online_endpoint()], slices=[]).endpoints[0]) == ()


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (None, None),
        ({"allowedOrigins": []}, None),
        ({"allowedOrigins": ["https://App.example.com/"]}, Cors(("https://app.example.com",), 600)),
        ({"allowedOrigins": ["*"], "maxAgeSeconds": 0}, Cors(("*",), 0)),
        (
            {"allowedOrigins": ["http://[::1]:3000", "http://localhost:3000"]},
            Cors(("http://[::1]:3000", "http://localhost:3000")),
        ),
    ],
)
def test_origins_are_read(raw: Any, found: Cors | None) -> None:
    problems: list[Problem] = []

    assert (read_cors(raw, problems=problems), problems) == (found, [])


@pytest.mark.parametrize(
    "raw",
    [
        "https://a",
        {"allowedOrigins": ["app.example.com"]},
        {"allowedOrigins": ["https://a b"]},
        {"allowedOrigins": ["https://a|b"]},
        {"allowedOrigins": ["https://a"] * 101},
        {"allowedOrigins": ["https://a"], "maxAgeSeconds": -1},
    ],
)
def test_origins_that_are_none_are_told(raw: Any) -> None:
    problems: list[Problem] = []
    read_cors(raw, problems=problems)

    assert len(problems) == 1


def test_stickiness_names_one_header_or_one_cookie() -> None:
    problems: list[Problem] = []

    assert read_sticky({"header": "x-session"}, problems=problems) == Sticky("header", "x-session")
    assert read_sticky({"cookie": "sid"}, problems=problems) == Sticky("cookie", "sid")
    assert read_sticky(None, problems=problems) is None
    assert problems == []
    for raw in ({"header": "a", "cookie": "b"}, {"header": "a b"}, {"header": "a|b"}, {"query": "a"}, "x", ["x"]):
        assert read_sticky(raw, problems=problems) is None
    assert len(problems) == 6


def test_all_of_it_becomes_records_of_haproxy() -> None:
    signer = Signer("k1")
    key = {"kid": "k1", "algorithm": "ES256", "publicKey": signer.pem}
    item = online_endpoint(
        auth={"mode": "token", "issuers": [{"issuer": signer.issuer, "keys": [key]}]},
        hosts=["credit.example.com"],
        cors={"allowedOrigins": ["https://app.example.com"], "maxAgeSeconds": 5},
        sticky={"cookie": "sid"},
        priorities=True,
    )
    table = build_table(endpoints=[item], slices=[], allowed_hosts=ALLOWED)
    assert table.endpoints[0].issuers == trusting(signer)

    slots = assign_slots(table, slots=SlotTable(sizes={500: 4}), now=0.0)
    wanted = want(table, slots=slots, hold_seconds=60)

    (file,) = wanted.token_keys
    assert wanted.maps["tokens"] == {"credit:k1": f"ES256|{file}|https://studio.example.com|credit"}
    assert wanted.maps["hosts"] == {"credit.example.com": "credit"}
    assert wanted.maps["cors"] == {"https://app.example.com|credit": "5"}
    assert wanted.maps["endpoints"]["credit"].endswith("|cookie:sid")
    assert all(record.endswith("|p") for record in wanted.maps["slots"].values())
    assert wanted.maps["keys"] == {}

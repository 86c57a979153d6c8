"""What a span tells, from records of the access log as captured."""

import pytest

from routerd.haproxy.config import LOG_FIELDS
from routerd.spans import Logged, SpanText, describe_span

OWNER = ("team-a", "credit", "blue")
ANSWERED = {
    "request_id": "r-1",
    "client": "10.0.0.9",
    "endpoint": "credit",
    "slot": "q500-0001",
    "replica": "blue-1",
    "method": "POST",
    "status": "200",
    "handshake_ms": "2",
    "receive_ms": "1",
    "queue_ms": "40",
    "connect_ms": "3",
    "response_ms": "50",
    "total_ms": "100",
    "path": "/api/v1/endpoint/credit/score",
    "accepted": "1700000000.250",
    "idle_ms": "8",
}
MS = 1_000_000
START = 1_700_000_000_260 * MS  # accepted, and what passed before the first byte of the request


def span(owner: tuple[str, str, str] | None = OWNER, **changes: str) -> SpanText:
    """The span of a call that was answered, but for these fields."""
    fields = ANSWERED | changes
    return describe_span(Logged([fields.get(name, "-") for name, _ in LOG_FIELDS], owner=owner, at=1_700_000_001.0))


def test_a_span_lasts_from_the_first_byte_of_the_request_to_the_last_of_the_answer() -> None:
    found = span()

    assert (found.name, found.start, found.end, found.error) == ("POST credit/blue", START, START + 100 * MS, None)
    assert found.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.path": "/api/v1/endpoint/credit/score",
        "client.address": "10.0.0.9",
        "slipway.request_id": "r-1",
        "slipway.namespace": "team-a",
        "slipway.endpoint": "credit",
        "slipway.deployment": "blue",
        "slipway.slot": "q500-0001",
        "slipway.replica": "blue-1",
        "slipway.receive_ms": 1,
        "slipway.queue_ms": 40,
        "slipway.connect_ms": 3,
        "slipway.model_ms": 56,
    }


def test_the_models_part_begins_behind_the_queue_and_ends_with_the_answer() -> None:
    model = span().model

    assert model is not None
    assert (model.name, model.start, model.end) == ("model", START + 41 * MS, START + 100 * MS)
    assert model.attributes["slipway.replica"] == "blue-1"


@pytest.mark.parametrize(
    "changes",
    [
        {"connect_ms": "-1", "replica": "<NOSRV>", "status": "429", "reason": "queue_full"},
        {"replica": "LOBBY", "held_ms": "60"},
        {"replica": "r1", "status": "502", "reason": "router_broke_off"},
    ],
)
def test_no_time_is_called_the_models_that_was_not(changes: dict[str, str]) -> None:
    found = span(**changes)

    assert found.model is None
    assert "slipway.model_ms" not in found.attributes


def test_an_error_of_the_model_and_one_of_the_router_are_told_apart() -> None:
    models, routers = span(status="500"), span(status="504", reason="model_timeout")

    assert (models.error, models.attributes["error.type"]) == ("500", "500")
    assert (routers.error, routers.attributes["slipway.reason"]) == ("model_timeout", "model_timeout")
    assert models.model is not None
    assert routers.model is not None
    assert models.model.attributes["http.response.status_code"] == 500
    assert "http.response.status_code" not in routers.model.attributes  # it never answered


def test_what_a_caller_does_wrong_is_an_error_of_neither() -> None:
    refused = span(owner=None, status="401", reason="unauthorized", slot="-")

    assert (refused.name, refused.error, refused.attributes["slipway.reason"]) == ("POST credit", None, "unauthorized")
    assert "error.type" not in refused.attributes


def test_what_callers_write_names_no_span() -> None:
    unknown = span(owner=None, endpoint="made-up-17", status="404", reason="no_endpoint", slot="-")
    odd = span(method="BREW")

    assert (unknown.name, unknown.attributes["slipway.endpoint"]) == ("POST", "made-up-17")
    assert (odd.name, odd.attributes["http.request.method"]) == ("HTTP credit/blue", "_OTHER")
    assert odd.attributes["http.request.method_original"] == "BREW"


def test_the_caller_is_told_also_by_the_router_that_got_the_request_from_another() -> None:
    assert span(forwarded_for="192.0.2.7").attributes["client.address"] == "192.0.2.7"


@pytest.mark.parametrize("accepted", ["-", "", "x.y", "1700000000"])
def test_without_a_clock_in_the_record_a_span_ends_when_it_was_read(accepted: str) -> None:
    found = span(accepted=accepted)

    assert (found.start, found.end) == (1_700_000_000_900 * MS, 1_700_000_001_000 * MS)

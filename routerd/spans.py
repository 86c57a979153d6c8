"""What a span tells of a logged request: pure, from the fields of its record.

    start                                            start + total_ms
      |-- receive --|-- queue --|-- connect --|-- the model --|      span "POST credit/blue", kind SERVER
                                |---------- "model" ----------|      its child, kind CLIENT

A request that waited in the lobby, or that another router had, has no child: what its record calls connecting and
answering is that of the lobby or of the router. Nothing is told that the access log does not hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from routerd.haproxy.config import LOBBY
from routerd.meter import known_fields
from routerd.slots import SlotOwner

# What OpenTelemetry's conventions know; anything else a caller may write for a method is "_OTHER" there.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
# The endpoint is what the caller wrote: too many of them to name spans by.
_NO_SUCH_ENDPOINT: Final = "no_endpoint"
_NOT_THE_MODEL: Final = "router_broke_off"

Value = str | int
Fields = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Logged:
    """One record of the access log, whose slot serves `owner`, of a request that ended at `at` (unix seconds)."""

    fields: Sequence[str]
    owner: SlotOwner | None
    at: float


@dataclass(frozen=True, slots=True)
class SpanText:
    """A span before it has a place in a trace; times in nanoseconds since 1970."""

    name: str
    start: int
    end: int
    attributes: Fields
    error: str | None = None  # why it failed: a reason of the router's, or the status
    traceparent: str = ""  # the caller's
    model: "SpanText | None" = field(default=None)


def describe_span(logged: Logged) -> SpanText:
    """The span of a logged request."""
    known = known_fields(logged.fields)
    start, end = _times(known, at=logged.at)
    status, reason = _number(known, "status"), str(known.get("reason", ""))
    method = str(known.get("method", ""))
    method = method if method in _METHODS else "_OTHER"
    return SpanText(
        name=f"{'HTTP' if method == '_OTHER' else method} {_target(known, owner=logged.owner)}".rstrip(),
        start=start,
        end=end,
        attributes=_attributes(known, method=method, owner=logged.owner),
        error=(reason or str(status)) if status >= 500 else None,
        traceparent=str(known.get("traceparent", "")),
        model=_model_span(known, method=method, start=start, end=end),
    )


def _target(known: Fields, *, owner: SlotOwner | None) -> str:
    if owner:
        return f"{owner[1]}/{owner[2]}"
    return "" if known.get("reason") == _NO_SUCH_ENDPOINT else str(known.get("endpoint", ""))


def _times(known: Fields, *, at: float) -> tuple[int, int]:
    """Start and end: by HAProxy's clock, to the millisecond; without one, it ended when its record was read."""
    total = _number(known, "total_ms")
    try:
        seconds, _, thousandths = str(known.get("accepted", "")).partition(".")
        accepted = int(seconds) * 1000 + int(thousandths)
    except ValueError:
        return int(at * 1000 - total) * 1_000_000, int(at * 1000) * 1_000_000
    start = accepted + _number(known, "handshake_ms") + _number(known, "idle_ms")
    return start * 1_000_000, (start + total) * 1_000_000


def _attributes(known: Fields, *, method: str, owner: SlotOwner | None) -> Fields:
    namespace, _, deployment = owner or ("", "", "")
    status = _number(known, "status")
    told: dict[str, Value | None] = {
        "http.request.method": method,
        "http.request.method_original": known.get("method") if method == "_OTHER" else None,
        "http.response.status_code": status or None,
        "error.type": (known.get("reason") or str(status)) if status >= 500 else None,
        "url.path": known.get("path"),
        "client.address": known.get("forwarded_for") or known.get("client"),
        "slipway.request_id": known.get("request_id"),
        "slipway.namespace": namespace,
        "slipway.endpoint": known.get("endpoint"),
        "slipway.deployment": deployment,
        "slipway.slot": known.get("slot"),
        "slipway.replica": known.get("replica"),
        "slipway.reason": known.get("reason"),
        "slipway.receive_ms": known.get("receive_ms"),
        "slipway.queue_ms": known.get("queue_ms"),
        "slipway.held_ms": known.get("held_ms"),
        "slipway.connect_ms": known.get("connect_ms"),
        "slipway.model_ms": _model_ms(known),
    }
    return {name: value for name, value in told.items() if value is not None and value != ""}


def _model_ms(known: Fields) -> int | None:
    """From the connection to the model until the last byte; None when the request had no model to itself."""
    if "connect_ms" not in known or known.get("replica") == LOBBY or known.get("reason") == _NOT_THE_MODEL:
        return None
    before = sum(_number(known, name) for name in ("receive_ms", "queue_ms", "connect_ms"))
    return max(0, _number(known, "total_ms") - before)


def _model_span(known: Fields, *, method: str, start: int, end: int) -> SpanText | None:
    model_ms = _model_ms(known)
    if model_ms is None:
        return None
    status, reason = _number(known, "status"), known.get("reason")
    error = str(reason or status) if status >= 400 else None
    told: dict[str, Value | None] = {
        "http.request.method": method,
        "http.response.status_code": None if reason else status,  # with a reason, the answer is the router's
        "error.type": error,
        "slipway.replica": known.get("replica"),
    }
    return SpanText(
        name="model",
        start=max(start, end - (model_ms + _number(known, "connect_ms")) * 1_000_000),
        end=end,
        attributes={name: value for name, value in told.items() if value},
        error=error,
    )


def _number(known: Fields, name: str) -> int:
    """A field that counts something; 0 when it is not known."""
    value = known.get(name, 0)
    return value if isinstance(value, int) else 0

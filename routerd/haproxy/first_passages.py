"""Counts once what passes a slot twice: a request that found no replica goes to the lobby, and comes back from there.

The slot's own counters have both passages, its LOBBY server's those that went away. The two are read one after the
other, and HAProxy raises a server's counter with the head of an answer but the backend's with its end: for a moment the
difference may be less than it was. What was counted stays counted, and the difference catches up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class BackendStat:
    """The BACKEND row of one slot; counters grow from HAProxy's start, and restart with it."""

    slot: str
    in_flight: int  # requests now at a replica or waiting for one, minus the waiting
    queued: int  # qcur: waiting for a free replica
    requests: int
    status_2xx: int
    status_4xx: int
    status_5xx: int
    servers_up: int
    queue_time_ms: int  # average over the last 1,024 requests
    response_time_ms: int


@dataclass(frozen=True)
class Reading:
    """All slots at one time: as HAProxy has them, and with every request once."""

    raw: Mapping[str, BackendStat] = field(default_factory=dict)
    once: Mapping[str, BackendStat] = field(default_factory=dict)


def count_once(raw: Mapping[str, BackendStat], *, away: Mapping[str, BackendStat], before: Reading) -> Reading:
    """The next reading. `away` is what each slot sent to the lobby; of those that sent nothing, nothing is taken."""
    once = dict(raw)
    for slot, sent in away.items():
        if (stat := raw.get(slot)) and sent.requests:
            known = before.raw.get(slot)
            went_on = known is not None and stat.requests >= known.requests  # else HAProxy began anew
            once[slot] = _without(stat, sent=sent, least=before.once[slot] if went_on else None)
    return Reading(raw, once)


def _without(stat: BackendStat, *, sent: BackendStat, least: BackendStat | None) -> BackendStat:
    return replace(
        stat,
        in_flight=max(0, stat.in_flight - sent.in_flight),
        requests=max(stat.requests - sent.requests, least.requests if least else 0),
        status_2xx=max(stat.status_2xx - sent.status_2xx, least.status_2xx if least else 0),
        status_4xx=max(stat.status_4xx - sent.status_4xx, least.status_4xx if least else 0),
        status_5xx=max(stat.status_5xx - sent.status_5xx, least.status_5xx if least else 0),
    )

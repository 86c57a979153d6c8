"""When each key was used last, to the minute: read from the table HAProxy keeps, and remembered beyond it.

    request ──track──> keys_used in HAProxy (an hour) ──every 15 s──> KeyUse ──> status, admin API

HAProxy counts every request, so that nothing depends on the sampled log. A key is known by its fingerprint too: one
that was made anew under an old name has not been used yet.
"""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from typing import Final

from routerd.board import board_of
from routerd.control import Router
from routerd.haproxy.runtime import CommandRefused, Runtime, RuntimeUnavailable
from routerd.routes import EndpointRoute, RoutingTable
from routerd.wanted import key_fingerprint

_READ_SECONDS: Final = 15.0
_TABLE: Final = "keys_used"
_KEPT_MS: Final = 3_600_000  # `expire` of the table: what is left of it tells when the key was used
_LINE: Final = re.compile(r" key=(?:\S*\|)?([^#| ]+)#([0-9a-f]+):(\S+) .*?\bexp=(\d+)")

UsedKey = tuple[str, str, str]  # endpoint, name of the key, fingerprint

logger = logging.getLogger(__name__)


async def run_key_use(router: Router) -> None:
    """Read until cancelled."""
    board = board_of(router)
    while True:
        try:
            used = await read_key_use(router.runtime, now=time.time())
            board.keys_used = merge_key_use(board.keys_used, used, table=router.table())
        except (RuntimeUnavailable, CommandRefused) as error:
            logger.warning("When keys were used is not read: %s", error)
        await asyncio.sleep(_READ_SECONDS)


async def read_key_use(runtime: Runtime, *, now: float) -> dict[UsedKey, float]:
    """Unix seconds of the last use, of the keys used in the last hour. Raises RuntimeUnavailable."""
    (text,) = await runtime.execute(f"show table {_TABLE}")
    return parse_key_use(text, now=now)


def parse_key_use(text: str, *, now: float) -> dict[UsedKey, float]:
    """Lines of `show table`: `0x..: key=primary#1a2b3c4d:credit use=0 exp=3599000 shard=0 gpc0=0`.

    What came the short way has its slots before the name (`q500-0001|||primary#1a2b3c4d:credit`): one key may have
    several entries, of which the latest counts.
    """
    used: dict[UsedKey, float] = {}
    for name, fingerprint, endpoint, left_ms in _LINE.findall(text):
        at = now - (_KEPT_MS - int(left_ms)) / 1000
        used[endpoint, name, fingerprint] = max(at, used.get((endpoint, name, fingerprint), 0.0))
    return used


def merge_key_use(
    known: Mapping[UsedKey, float], found: Mapping[UsedKey, float], *, table: RoutingTable | None
) -> dict[UsedKey, float]:
    """The later of both times, of the keys that are in the table (of all, while there is none)."""
    latest = dict(known)
    for key, at in found.items():
        latest[key] = max(at, latest.get(key, 0.0))
    if table is None:
        return latest
    present = {key for endpoint in table.routed() for key in keys_of(endpoint)}
    return {key: at for key, at in latest.items() if key in present}


def keys_of(endpoint: EndpointRoute) -> list[UsedKey]:
    """The keys of an endpoint, as their use is counted."""
    return [(endpoint.name, name, key_fingerprint(digest)) for name, digest in endpoint.keys]


def describe_key_use(endpoint: EndpointRoute, *, used: Mapping[UsedKey, float]) -> list[dict[str, str]]:
    """`{"name", "fingerprint", "lastUsed"}` of each key, by name; the minute is absent where none is known."""
    return [
        {"name": key[1], "fingerprint": key[2]} | ({"lastUsed": _minute(used[key])} if key in used else {})
        for key in sorted(keys_of(endpoint))
    ]


def _minute(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(at))

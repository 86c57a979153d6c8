"""Ends answers that take longer in all than their deployment allows.

HAProxy 2.8 knows how long nothing may happen (`timeout server`), not how long a request may take: an answer that
trickles for ever is always alive. So the control process looks at HAProxy's streams once a second and ends those whose
age, counted from the arrival of the request, is over. Their callers see an incomplete answer. A request that has no
answer yet is left to its waits and its request timeout, which say in a status what happened. While the control process
is away nothing is ended; the silence of a model still is noticed, by HAProxy itself.
"""

import asyncio
import logging
import re
import time
from collections.abc import Iterator, Mapping
from typing import Final

from routerd.control import Router
from routerd.haproxy.runtime import CommandRefused, RuntimeUnavailable

_LOOK_SECONDS: Final = 1.0
_COST_LIMIT: Final = 20  # a look that costs t of CPU is followed by a pause of so many t, where there are many streams
_STREAM: Final = re.compile(r"^(0x[0-9a-f]+): .*? be=(\S+) .*?\bage=(\S+) .*?\brp\[f=([0-9a-f]+)h", re.MULTILINE)
_WROTE_DATA: Final = 0x40000  # a flag of HAProxy's channels: something of the answer has left
_PART: Final = re.compile(r"(\d+)([dhms])")
_SECONDS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}

logger = logging.getLogger(__name__)


async def run_stream_limits(router: Router) -> None:
    """Look and end until cancelled."""
    while True:
        cpu = time.thread_time()
        try:
            await end_overdue(router)
        except (RuntimeUnavailable, CommandRefused) as error:
            logger.warning("Requests are not ended at their total time-out: %s", error)
        await asyncio.sleep(max(_LOOK_SECONDS, _COST_LIMIT * (time.thread_time() - cpu)))


async def end_overdue(router: Router) -> None:
    """End what is overdue now. Raises RuntimeUnavailable."""
    limits = total_limits(router)
    if not limits:
        return
    (text,) = await router.runtime.execute("show sess")
    overdue = list(find_overdue(text, limits=limits))
    if overdue:
        await router.runtime.execute(*(f"shutdown session {stream}" for stream, _ in overdue))
        logger.info("Ended %d requests at their total time-out, in %s", len(overdue), sorted({s for _, s in overdue}))


def total_limits(router: Router) -> dict[str, float]:
    """Slot -> seconds a request may take in all, of the slots that have such a limit."""
    table, slots = router.table(), router.slots()
    limits = {}
    for endpoint in table.routed() if table else ():
        for route in endpoint.deployments:
            slot = slots.find((endpoint.namespace, endpoint.name, route.name)) if route.total_timeout_ms else None
            if slot:
                limits[slot] = route.total_timeout_ms / 1000
    return limits


def find_overdue(text: str, *, limits: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """(stream, slot) of each line of `show sess` that answers and is older than its slot allows."""
    for stream, slot, age, flags in _STREAM.findall(text):
        if slot in limits and int(flags, 16) & _WROTE_DATA and parse_age(age) >= limits[slot]:
            yield stream, slot


def parse_age(text: str) -> int:
    """`1m4s` -> 64."""
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))

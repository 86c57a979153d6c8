"""How busy each deployment is: reads HAProxy's counters and access log, and fills the meter.

    admin socket, every 100 ms ──> in flight, queued, held; 2xx, 4xx, 5xx ─┐             ┌─> Load, for autoscaling
    log.pipe, one line a request ──> latency, 429s ────────────────────────┴─> LoadMeter ┴─> one Sample a second

While nothing is going on, a look every 200 ms is enough. Where a look is expensive (a thousand slots), there are fewer
of them: they should cost a twentieth of a core at most.
The log is read as it comes; every record also leaves as one JSON line on standard output, for whoever collects logs,
and as a span where a collector of traces is named (see tracing).
"""

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing
from json.encoder import encode_basestring_ascii as quote
from typing import Final

from routerd.access_log import read_log
from routerd.board import Board, board_of
from routerd.control import Router
from routerd.haproxy.config import LOG_FIELDS
from routerd.haproxy.runtime import RuntimeUnavailable
from routerd.meter import NOT_KNOWN, NUMBERS, ended_at, read_record, split_record
from routerd.slots import SlotOwner
from routerd.spans import Logged
from routerd.tracing import Tracing

_LOOK_SECONDS: Final = 0.1
_QUIET_LOOK_SECONDS: Final = 0.2  # while nothing is going on
_SAMPLE_SECONDS: Final = 1.0
_COST_LIMIT: Final = 20  # a look that costs t of CPU is followed by a pause of so many t,
_LONGEST_PAUSE_SECONDS: Final = 0.5  # but of no more than this
_FOR_SPANS: Final = ("accepted", "idle_ms")  # `at` and `total_ms` tell people as much

_LABELS: Final = [("" if name in _FOR_SPANS else f'"{name}":', name in NUMBERS) for name, _ in LOG_FIELDS]
_REASON: Final = [name for name, _ in LOG_FIELDS].index("reason")

logger = logging.getLogger(__name__)


async def run_load(router: Router) -> None:
    """Look, listen and sample until cancelled."""
    board = board_of(router)
    async with asyncio.TaskGroup() as group:
        group.create_task(_look_forever(router, board=board), name="look")
        group.create_task(_sample_forever(router, board=board), name="sample")
        group.create_task(_listen_forever(router, board=board), name="access log")
        if router.settings.otlp_endpoint:
            board.tracing = Tracing(router.settings)
            group.create_task(board.tracing.run(), name="tracing")


async def _look_forever(router: Router, *, board: Board) -> None:
    blind = False
    while True:
        started, cpu = time.monotonic(), time.thread_time()
        try:
            await look_once(router, board=board)
            if blind:
                logger.info("HAProxy's counters can be read again")
            blind = False
        except RuntimeUnavailable as error:
            if not blind:
                logger.warning("Load is unknown, replica counts are held: %s", error)
            blind = True
        took, cost = time.monotonic() - started, time.thread_time() - cpu
        pause = _QUIET_LOOK_SECONDS if router.runtime.quiet else _LOOK_SECONDS
        await asyncio.sleep(max(pause - took, min(cost * _COST_LIMIT, _LONGEST_PAUSE_SECONDS)))


async def look_once(router: Router, *, board: Board) -> None:
    """Read HAProxy's counters into the meter once. Raises RuntimeUnavailable."""
    stats, held = await router.runtime.show_load()
    board.meter.look(stats, held=held, slots=router.slots(), now=time.time())


async def _sample_forever(router: Router, *, board: Board) -> None:
    while True:
        await asyncio.sleep(_SAMPLE_SECONDS - time.time() % _SAMPLE_SECONDS)
        if table := router.table():
            board.history.samples.extend(board.meter.take_samples(table, asked=board.asked, now=time.time()))
            for slot, seconds in board.meter.take_service_times().items():
                router.report_service_time(slot=slot, seconds=seconds)


async def _listen_forever(router: Router, *, board: Board) -> None:
    """Read the access log until cancelled: first what came while nobody read it, which is only passed on."""
    counted = False
    async with aclosing(read_log(router.settings.log_pipe)) as log:
        async for lines in log:
            sys.stdout.writelines(_take_record(line, router=router, board=board, counted=counted) for line in lines)
            sys.stdout.flush()
            counted = True


def _take_record(line: bytes, *, router: Router, board: Board, counted: bool) -> str:
    """Tell the meter of one record, and the collector of traces; gives back the record as a line of JSON."""
    fields = split_record(line)
    if fields is None:
        return ""
    at = ended_at(fields, now=time.time())
    record = read_record(fields)
    owner = router.slots().lookup(record.slot) if record else None
    if counted:
        board.meter.refuse(fields[_REASON])
        if record and owner:
            weight = router.settings.log_sample if record.status < 400 else 1
            board.meter.record(record, owner=owner, weight=weight, now=at)
    if board.tracing:
        board.tracing.offer(Logged(fields, owner=owner, at=at))
    return describe_record(fields, at=at, owner=owner)


def describe_record(fields: Sequence[str], *, at: float, owner: SlotOwner | None = None) -> str:
    """One line of JSON with what is known of a request: numbers as numbers, unknown fields left out.

    Written piece by piece: at some thousand records a second, a dictionary of each costs twice the time.
    """
    parts = [f'{{"at":{at:.3f},"event":"request"']
    if owner:
        parts.append(f'"namespace":{quote(owner[0])},"deployment":{quote(owner[2])}')
    parts += [
        label + (value if is_number and value.isdigit() else quote(value))
        for (label, is_number), value in zip(_LABELS, fields, strict=True)
        if label and value not in NOT_KNOWN
    ]
    return ",".join(parts) + "}\n"

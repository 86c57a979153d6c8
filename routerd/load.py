"""How busy each deployment is: reads HAProxy's counters and access log, and fills the meter.

    admin socket, every 100 ms ──> in flight, queued, held; 2xx, 4xx, 5xx ─┐             ┌─> Load, for autoscaling
    log.sock, one datagram a request ──> latency, 429s ────────────────────┴─> LoadMeter ┴─> one Sample a second

Where a look is expensive (a thousand slots), there are fewer of them: they should cost a tenth of a core at most. The
log is read as it comes; every record also leaves as one JSON line on standard output, for whoever collects logs, and
as a span where a collector of traces is named (see tracing).
"""

import asyncio
import json
import logging
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from routerd.board import Board, board_of
from routerd.control import Router
from routerd.haproxy.config import LOG_FIELDS
from routerd.haproxy.runtime import RuntimeUnavailable
from routerd.meter import known_fields, read_record, split_record
from routerd.slots import SlotOwner
from routerd.spans import Logged
from routerd.tracing import Tracing

_LOOK_SECONDS: Final = 0.1
_SAMPLE_SECONDS: Final = 1.0
_COST_LIMIT: Final = 10  # a look that costs t of CPU is followed by a pause of so many t,
_LONGEST_PAUSE_SECONDS: Final = 0.5  # but of no more than this
_DATAGRAM_BYTES: Final = 4096
_BURST: Final = 256  # records read before others get their turn
_RECEIVE_BUFFER: Final = 4 << 20
_FOR_SPANS: Final = ("accepted", "idle_ms")  # `at` and `total_ms` tell people as much

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
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
        await asyncio.sleep(max(_LOOK_SECONDS - took, min(cost * _COST_LIMIT, _LONGEST_PAUSE_SECONDS)))


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
    """Read the access log's datagrams, in bursts, until cancelled."""
    loop = asyncio.get_running_loop()
    path = router.settings.log_socket
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.setblocking(False)
        log.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        log.bind(str(path))
        path.chmod(0o600)
        while True:
            burst = [await loop.sock_recv(log, _DATAGRAM_BYTES), *_waiting(log)]
            sys.stdout.writelines(_take_record(line, router=router, board=board, now=time.time()) for line in burst)
            sys.stdout.flush()
            await asyncio.sleep(0)  # records may come faster than they are read: let others run


def _waiting(log: socket.socket) -> Iterator[bytes]:
    """What else can be read without waiting, up to a burst's length."""
    with suppress(BlockingIOError):
        for _ in range(_BURST):
            yield log.recv(_DATAGRAM_BYTES)


def _take_record(line: bytes, *, router: Router, board: Board, now: float) -> str:
    """Tell the meter of one record, and the collector of traces; gives back the record as a line of JSON."""
    fields = split_record(line)
    if fields is None:
        return ""
    board.meter.refuse(fields[_REASON])
    record = read_record(fields)
    owner = router.slots().lookup(record.slot) if record else None
    if record and owner:
        weight = router.settings.log_sample if record.status < 400 else 1
        board.meter.record(record, owner=owner, weight=weight, now=now)
    if board.tracing:
        board.tracing.offer(Logged(fields, owner=owner, at=now))
    return describe_record(fields, at=now, owner=owner)


def describe_record(fields: Sequence[str], *, at: float, owner: SlotOwner | None = None) -> str:
    """One line of JSON with what is known of a request: numbers as numbers, unknown fields left out."""
    known: dict[str, object] = {"at": round(at, 3), "event": "request"}
    if owner:
        known |= {"namespace": owner[0], "deployment": owner[2]}
    known |= known_fields(fields)
    for name in _FOR_SPANS:
        known.pop(name, None)
    return _encode(known) + "\n"

"""HAProxy's admin socket: commands in, answers out, and the three tables everybody reads.

Each `execute` opens one connection, switches it to prompt mode, sends all commands at once and reads as many
answers: one round trip for a batch, and never an old worker's socket after a reload, because a new
connection always reaches the worker that listens now. Any number of callers may use one `Runtime`.

Lines of HAProxy are parsed here, once, into frozen values; nothing is decided.
"""

import asyncio
import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from routerd.haproxy.config import LOBBY, LOBBY_ID
from routerd.haproxy.first_passages import BackendStat, Reading, count_once
from routerd.haproxy.peers import SEAT_ID, read_seats

_PROMPT: Final = b"\n> "
_LIMIT: Final = 64 * 1024 * 1024  # bytes of one answer: show map of 5,000 entries is 1 MB


class RuntimeUnavailable(Exception):  # noqa: N818 a state of HAProxy, and a name others import
    """HAProxy's admin socket does not answer: HAProxy is down or restarting."""


class CommandRefused(Exception):  # noqa: N818 reads as what happened
    """HAProxy answered a command with a refusal."""

    def __init__(self, command: str, answer: str) -> None:
        super().__init__(f"HAProxy refused {command!r}: {answer.strip()!r}")
        self.command = command
        self.answer = answer


@dataclass(frozen=True)
class ServerConn:
    """One server of a slot, from `show servers conn`."""

    slot: str
    name: str
    address: str
    port: int
    used: int  # connections that carry a request now
    idle: int


@dataclass(frozen=True)
class ServerStat:
    """One server of a slot, from its row of `show stat`."""

    slot: str
    name: str
    address: str
    port: int
    max_connections: int
    sessions: int  # requests at this server now
    drained: bool
    maintenance: bool
    down: bool = False  # it refused a connection; HAProxy knocks until it is back

    @property
    def serving(self) -> bool:
        """It is in rotation (though it may be down)."""
        return not self.drained and not self.maintenance


class Runtime:
    """The admin socket at `path`. Every method raises RuntimeUnavailable when HAProxy does not answer."""

    def __init__(self, path: Path, *, timeout_seconds: float = 10.0) -> None:
        self.path = path
        self._timeout = timeout_seconds
        self._lobby_requests = 0  # that the lobby had seen when `_in_lobby` was read
        self._in_lobby: dict[str, BackendStat] = {}
        self._requests_seen = -1  # of all frontends, at the last reading
        self._reading = Reading()
        self.quiet = False  # nothing was going on in it

    async def execute(self, *commands: str) -> list[str]:
        """Run the commands in order on one connection; one answer (its text, stripped) each.

        A command may carry a payload (`add map x <<` and lines); it must not hold a blank line.
        """
        if not commands:
            return []
        try:
            async with asyncio.timeout(self._timeout):
                return await self._converse(commands)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            raise RuntimeUnavailable(f"HAProxy's admin socket {self.path}: {error!r}") from error

    async def change(self, *commands: str) -> None:
        """Run commands that answer nothing or a known success; raises CommandRefused for the first other."""
        for command, answer in zip(commands, await self.execute(*commands), strict=True):
            if answer and not answer.startswith(_SUCCESS):
                raise CommandRefused(command, answer)

    async def show_load(self) -> tuple[Mapping[str, BackendStat], dict[str, int]]:
        """Counters per slot (backends whose name is a slot's), each request once; requests held in the lobby per slot.

        A thousand slots are expensive to read, and this is asked up to ten times a second. So nothing is read while no
        request came and none was there; and what passed a slot twice, because it waited in the lobby, only when the
        lobby was used since the last time.
        """
        frontends, held = await self.execute("show stat -1 1 -1", "show held")
        requests = {name: seen for name, (_, seen) in parse_frontends(frontends).items()}
        if self.quiet and sum(requests.values()) == self._requests_seen:
            return self._reading.once, _counts([held])
        text, held = await self.execute("show stat -1 2 -1", "show held")
        present, seen = parse_frontends(frontends).get("lobby", (0, 0))
        if present or seen != self._lobby_requests:
            (rows,) = await self.execute(f"show stat -1 4 {LOBBY_ID}")
            self._lobby_requests, self._in_lobby = seen, parse_lobby(rows)
        raw = {stat.slot: stat for stat in parse_backend_stats(text)}
        self._reading = count_once(raw, away=self._in_lobby, before=self._reading)
        found = self._reading.once
        self.quiet = not present and not any(stat.in_flight or stat.queued for stat in found.values())
        self._requests_seen = sum(requests.values())
        return found, _counts([held])

    async def show_servers_conn(self, slot: str | None = None) -> list[ServerConn]:
        """Connections of every server, or of one slot's."""
        (text,) = await self.execute(f"show servers conn {slot}" if slot else "show servers conn")
        return list(parse_servers_conn(text))

    async def show_slots(self, *slots: str) -> tuple[Mapping[str, BackendStat], list[ServerStat]]:
        """Counters and servers of the named slots, or of all."""
        which = slots or ("-1",)
        texts = await self.execute(*(f"show stat {slot} 6 -1" for slot in which))
        rows = [row for text in texts for row in _stat_rows(text)]  # once: of a thousand slots they are many
        backends = {stat.slot: stat for stat in _backend_stats(rows)}
        return count_once(backends, away=_lobby_stats(rows), before=Reading()).once, list(_server_stats(rows))

    async def show_seats(self) -> dict[int, str]:
        """Seat number -> address of the routers that sit there, alive or not."""
        (text,) = await self.execute(f"show stat -1 4 {SEAT_ID}")
        rows = ((row[_PROXY], row[_ADDRESS], row[_STATUS]) for row in _stat_rows(text))
        return read_seats((proxy, where.rpartition(":")[0].strip("[]"), status) for proxy, where, status in rows)

    async def show_map(self, path: Path) -> dict[str, str]:
        """Every entry of one map; of an entry that is there twice, the one HAProxy uses."""
        (text,) = await self.execute(f"show map {path}")
        return parse_map(text)

    async def show_held(self) -> dict[str, int]:
        """Requests waiting in the lobby per slot because it has no replica; slots with none are absent."""
        return _counts(await self.execute("show held"))

    async def show_unmirrored(self) -> dict[str, int]:
        """Requests whose body was too large to be mirrored to the slot, since HAProxy started."""
        return _counts(await self.execute("show unmirrored"))

    async def process_ids(self) -> tuple[int, int]:
        """(process id of the worker that answers, seconds it is up)."""
        info = await self._show_info()
        return int(info["Pid"]), int(info["Uptime_sec"])

    async def show_dropped_records(self) -> int:
        """Requests that should have been logged and were not, since HAProxy started: the log's pipe was full."""
        return int((await self._show_info())["DroppedLogs"])

    async def _show_info(self) -> dict[str, str]:
        (text,) = await self.execute("show info")
        return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)

    async def _converse(self, commands: tuple[str, ...]) -> list[str]:
        reader, writer = await asyncio.open_unix_connection(str(self.path), limit=_LIMIT)
        try:
            batch = "".join(_as_line(command) for command in ("prompt", *commands))
            writer.write(batch.encode())
            await writer.drain()
            answers = [await reader.readuntil(_PROMPT) for _ in range(len(commands) + 1)]
        finally:
            writer.close()
        return [answer.removesuffix(_PROMPT).decode().strip("\n") for answer in answers[1:]]


# Places of columns in `show stat` (HAProxy's management guide, 9.1).
_PROXY, _SERVER, _QUEUED, _SESSIONS, _LIMIT_SESSIONS, _TOTAL = 0, 1, 2, 4, 6, 7
_STATUS, _ACTIVE, _2XX, _4XX, _5XX, _REQUESTS = 17, 19, 40, 42, 43, 48
_QUEUE_TIME, _RESPONSE_TIME, _ADDRESS = 58, 60, 73
_NO_REPLICA: Final = frozenset({"BACKEND", "FRONTEND", LOBBY})

_SUCCESS: Final = (
    "New server registered",
    "Server deleted",
    "New version created",
    "IP changed",
    "no need to change the addr",
)


def _as_line(command: str) -> str:
    if "\n\n" in command:
        raise ValueError(f"a blank line would end the command early: {command!r}")
    return f"{command}\n\n" if "\n" in command else f"{command}\n"


def _counts(answers: list[str]) -> dict[str, int]:
    return {slot: int(count) for slot, count in (line.split() for line in answers[0].splitlines() if line)}


def is_slot(backend: str) -> bool:
    """Whether a backend's name is a slot's (`q500-0007`)."""
    return backend[:1] == "q" and "-" in backend


def parse_backend_stats(text: str) -> Iterable[BackendStat]:
    """The slots' BACKEND rows of `show stat` (CSV)."""
    return _backend_stats(_stat_rows(text))


def _backend_stats(rows: Iterable[list[str]]) -> Iterable[BackendStat]:
    return (_backend_stat(row) for row in rows if row[_SERVER] == "BACKEND" and is_slot(row[_PROXY]))


def parse_lobby(text: str) -> dict[str, BackendStat]:
    """What each slot that ever needed it sent to the lobby, from the rows of `show stat`."""
    return _lobby_stats(_stat_rows(text))


def _lobby_stats(rows: Iterable[list[str]]) -> dict[str, BackendStat]:
    return {row[_PROXY]: _backend_stat(row) for row in rows if row[_SERVER] == LOBBY and row[_TOTAL] != "0"}


def parse_frontends(text: str) -> dict[str, tuple[int, int]]:
    """(connections now, requests so far) by frontend, from their rows of `show stat`."""
    rows = (row for row in _stat_rows(text) if row[_SERVER] == "FRONTEND")
    return {row[_PROXY]: (_int(row[_SESSIONS]), _int(row[_REQUESTS])) for row in rows}


def _backend_stat(row: Sequence[str]) -> BackendStat:
    queued = _int(row[_QUEUED])
    return BackendStat(
        slot=row[_PROXY],
        in_flight=max(0, _int(row[_SESSIONS]) - queued),
        queued=queued,
        requests=_int(row[_TOTAL]),
        status_2xx=_int(row[_2XX]),
        status_4xx=_int(row[_4XX]),
        status_5xx=_int(row[_5XX]),
        servers_up=_int(row[_ACTIVE]),
        queue_time_ms=_int(row[_QUEUE_TIME]),
        response_time_ms=_int(row[_RESPONSE_TIME]),
    )


def parse_servers_conn(text: str) -> Iterable[ServerConn]:
    """Rows of `show servers conn`, slots only."""
    for row in _table(text):
        slot, _, name = row["bkname/svname"].partition("/")
        if is_slot(slot) and name != LOBBY:
            yield ServerConn(
                slot=slot,
                name=name,
                address=row["addr"],
                port=_int(row["port"]),
                used=_int(row["used_cur"]),
                idle=_int(row["idle_cur"]),
            )


def parse_server_stats(text: str) -> Iterable[ServerStat]:
    """The replicas' rows of `show stat` (CSV), slots only."""
    return _server_stats(_stat_rows(text))


def _server_stats(rows: Iterable[list[str]]) -> Iterable[ServerStat]:
    for row in rows:
        if not is_slot(row[_PROXY]) or row[_SERVER] in _NO_REPLICA:
            continue
        address, _, port = row[_ADDRESS].rpartition(":")
        yield ServerStat(
            slot=row[_PROXY],
            name=row[_SERVER],
            address=address.strip("[]"),
            port=_int(port),
            max_connections=_int(row[_LIMIT_SESSIONS]),
            sessions=_int(row[_SESSIONS]),
            drained=row[_STATUS].startswith("DRAIN"),
            maintenance=row[_STATUS].startswith("MAINT"),
            down=row[_STATUS].startswith("DOWN"),
        )


def _stat_rows(text: str) -> Iterable[list[str]]:
    """Rows of `show stat`; HAProxy adds columns at the end only, so their places are names enough."""
    return (row for row in csv.reader(text.splitlines()) if len(row) > _ADDRESS and row[0][:1] != "#")


def parse_map(text: str) -> dict[str, str]:
    """Entries of `show map`: `0x55... key value` a line; the first of a key is the one HAProxy finds."""
    entries: dict[str, str] = {}
    for line in text.splitlines():
        parts = line.split(" ", 2)
        if len(parts) == 3:
            entries.setdefault(parts[1], parts[2])
    return entries


def _table(text: str) -> Iterable[dict[str, str]]:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return
    names = lines[0].removeprefix("#").split()
    for line in lines[1:]:
        if not line.startswith("#"):
            yield dict(zip(names, line.split(), strict=False))


def _int(text: str) -> int:
    return int(text) if text.lstrip("-").isdigit() else 0

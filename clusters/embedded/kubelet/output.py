"""A container's output in the CRI's log format: ``2026-11-21T09:00:00.123456789Z stdout F text``.

``F`` ends a line, ``P`` is a piece of a longer one (pieces are cut at 16 KiB). The file is rotated at 20 MiB
to ``<name>.1`` by a rename; a reader that follows must look whether the path still names its open file.
Standard library only, see linux.py.
"""

import time
from pathlib import Path
from typing import Final

PIECE: Final = 16 * 1024
_ROTATE_AT: Final = 20 * 1024 * 1024


def timestamp(nanoseconds: int) -> str:
    """Unix time in nanoseconds as RFC 3339 with nine digits, UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


class LineSplitter:
    """Cuts one stream's bytes into the CRI's entries."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._rest = b""

    def feed(self, data: bytes, *, now_ns: int) -> bytes:
        """Entries for all complete lines (and over-long pieces) in ``data``."""
        full, partial = self._prefixes(now_ns)
        *lines, rest = (self._rest + data).split(b"\n")
        entries: list[bytes] = []
        for line in lines:
            entries += _pieces(line, full=full, partial=partial)
        while len(rest) >= PIECE:
            entries += (partial, rest[:PIECE], b"\n")
            rest = rest[PIECE:]
        self._rest = rest
        return b"".join(entries)

    def finish(self, *, now_ns: int) -> bytes:
        """The last line, when the stream ended without a newline."""
        full, partial = self._prefixes(now_ns)
        rest, self._rest = self._rest, b""
        return b"".join(_pieces(rest, full=full, partial=partial)) if rest else b""

    def _prefixes(self, now_ns: int) -> tuple[bytes, bytes]:
        head = f"{timestamp(now_ns)} {self._stream} "
        return (head + "F ").encode(), (head + "P ").encode()


def _pieces(line: bytes, *, full: bytes, partial: bytes) -> list[bytes]:
    entries: list[bytes] = []
    while len(line) > PIECE:
        entries += (partial, line[:PIECE], b"\n")
        line = line[PIECE:]
    return [*entries, full, line, b"\n"]


class LogFile:
    """An append-only file that starts over when it is large."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, entries: bytes) -> None:
        if not entries:
            return
        if self._size > _ROTATE_AT:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("ab", buffering=0)
            self._size = 0
        self._file.write(entries)
        self._size += len(entries)

    def close(self) -> None:
        self._file.close()

"""Whose socket answers on an address: /proc/net/tcp against the file descriptors of a pod's processes."""

import socket
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"
_BELIEVED_SECONDS: Final = 30.0


class Listeners:
    """Those of a pod's own processes. A yes is believed for half a minute: looking costs a walk through /proc."""

    def __init__(self, pids: Callable[[], set[int]]) -> None:
        self._pids = pids
        self._known: dict[tuple[str, int], float] = {}

    def are_at(self, host: str, *, port: int) -> bool:
        now = time.monotonic()
        if now < self._known.get((host, port), 0.0):
            return True
        owned = hold_any(self._pids(), listening_inodes(host, port=port))
        if owned:
            self._known[host, port] = now + _BELIEVED_SECONDS
        return owned

    def forget(self) -> None:
        self._known.clear()


def listening_inodes(address: str, *, port: int) -> set[str]:
    """Inodes of the sockets a connection to address:port may reach; an exact bind comes before 0.0.0.0."""
    packed = struct.unpack("=I", socket.inet_aton(address))[0]
    exact, anywhere = f"{packed:08X}:{port:04X}", f"00000000:{port:04X}"
    found = _listeners("/proc/net/tcp")
    if found.get(exact):
        return found[exact]
    return found.get(anywhere, set()) | _listeners("/proc/net/tcp6").get(f"{'0' * 32}:{port:04X}", set())


def _listeners(table: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    try:
        lines = Path(table).read_text().splitlines()[1:]
    except OSError:
        return found
    for line in lines:
        fields = line.split()
        if fields[3] == _LISTEN:
            found.setdefault(fields[1], set()).add(fields[9])
    return found


def hold_any(pids: Iterable[int], inodes: set[str]) -> bool:
    """Whether one of these processes has one of these sockets open."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    return any(link in wanted for pid in pids for link in _links(pid))


def _links(pid: int) -> Iterable[str]:
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for entry in entries:
        try:
            yield str(entry.readlink())
        except OSError:
            continue

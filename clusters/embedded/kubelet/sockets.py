"""Whose socket answers on an address: /proc/net/tcp against the file descriptors of a pod's processes."""

import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"


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

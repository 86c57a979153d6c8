"""The part of HAProxy's configuration that joins several routers: `peers.cfg` and the commands for its seats. Pure.

Every other router has a seat, two backends: `peer3` passes requests on, and `peer3_up` only tells the rules whether
that router lives (`peer3` itself always has a server: what its router does not take comes back by a unix socket).
"""

from collections.abc import Iterable, Mapping
from typing import Final

from routerd.peers import MOST_PEERS
from routerd.settings import Settings

SEAT_ID: Final = 9998  # the server of every seat
_NOBODY: Final = "127.0.0.1"
# A refused connection is found out at once, a host that is gone after 150 + 400 + 20 + 400 ms (see `timeout check`).
# Connections are kept a while: a new one costs a handshake on both sides.
_CHECK: Final = (
    "check inter 150ms fastinter 20ms downinter 100ms rise 1 fall 2 "
    "observe layer4 error-limit 1 on-error mark-down pool-purge-delay 30s"
)


SOMEBODY_AHEAD: Final = "{ var(txn.srec),field(7,|) -m len gt 0 }"  # a rule's condition


def seat_name(number: int) -> str:
    """The backend of a seat."""
    return f"peer{number}"


def seat_number(backend: str) -> int | None:
    """The number of a seat's backend; None for any other backend."""
    digits = backend.removeprefix("peer")
    return int(digits) if digits.isdigit() and digits != backend else None


def render_seats(settings: Settings, *, seats: Mapping[int, str]) -> str:
    """The backends of all seats; `seats` tells the address of those that are taken."""
    run = settings.run_dir
    tls = f"ssl crt {run}/peer.pem ca-file {run}/peers.pem verify required"
    lines = []
    for number in range(1, MOST_PEERS + 1):
        name, address = seat_name(number), seats.get(number)
        where = f"{_host(address or _NOBODY)}:{settings.peer_port}"
        lines += [
            f"backend {name} from peer",
            f"    server router {where} id {SEAT_ID} {'' if address else 'disabled '}{tls} {_CHECK}",
            f"    server here unix@{run}/here.sock backup",
            f"backend {name}_up from base",
            f"    server router {_NOBODY}:1 track {name}/router",
        ]
    return "\n".join(lines) + "\n"


def ahead_rules(settings: Settings) -> str:
    """Rules of a frontend that pass a request on to the first router ahead of this one that lives."""
    if not settings.peer_port:
        return ""
    seats = [f"var(txn.srec),field(7,|),field({place},:)" for place in range(1, MOST_PEERS + 1)]
    return "\n".join(
        [
            f"    use_backend %[var(txn.be)] unless {SOMEBODY_AHEAD}",
            *(f"    use_backend %[{seat}] if {{ {seat},concat(_up),nbsrv gt 0 }}" for seat in seats),
        ]
    )


def take_seats(
    wanted: Mapping[int, str], *, running: Mapping[int, str], peer_port: int
) -> tuple[list[str], list[str], set[int]]:
    """Commands that seat routers, commands that free seats, and the seats touched.

    A router that is seated counts as dead until a check has found it, so that no request is the first to try.
    """
    come, go, touched = [], [], set()
    for number, address in sorted(wanted.items()):
        if running.get(number) != address:
            server = f"{seat_name(number)}/router"
            come += [
                f"set server {server} addr {address} port {peer_port}",
                f"set server {server} state ready",
                f"set server {server} health down",
            ]
            touched.add(number)
    for number in sorted(running.keys() - wanted.keys()):
        go.append(f"set server {seat_name(number)}/router state maint")
        touched.add(number)
    return come, go, touched


def read_seats(rows: Iterable[tuple[str, str, str]]) -> dict[int, str]:
    """Seat number -> address of the seats that are taken, from (backend, address, status) of their servers."""
    found = {}
    for backend, address, status in rows:
        number = seat_number(backend)
        if number is not None and not status.startswith("MAINT"):
            found[number] = address
    return found


def _host(address: str) -> str:
    return f"ipv6@{address}" if ":" in address else address

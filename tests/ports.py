"""Ports for servers that tests start later: never one that an outgoing connection could take meanwhile."""

import itertools
import os
import socket

# Below the range of outgoing connections, above that of node ports. Each worker of a run has a thousand of its own.
_FIRST, _EACH = 20_000, 1_000
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
_turns = itertools.count(os.getpid())  # two runs at once begin in different places


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens on, and that no other call gets soon."""
    for turn in itertools.islice(_turns, _EACH):
        port = _FIRST + _worker * _EACH + turn % _EACH
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"All ports from {_FIRST} to {_FIRST + 10 * _EACH} are taken on {address}.")

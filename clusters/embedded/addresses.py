"""Addresses on loopback: every cluster of this machine has a /16 of its own, every pod an address of its own.

    127.X.0.0/16   X from 16 to 119, claimed by a listening socket on 127.X.0.1:7016 that is kept open (tests of other
                   parts take their addresses above these)
    127.X.0.0/17   pods, given out in turn, so that an address is not reused soon
    127.X.128.0/17 ClusterIPs; 127.X.128.1 is the Service `kubernetes`

Linux answers on the whole of 127.0.0.0/8 without any setup. The port is above 1024 for everyone, so that a
cluster of root and one of another user see each other's claim.
"""

import ipaddress
import socket
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clusters.embedded.private_files import write_private

FIRST_BLOCK: Final = 16
LAST_BLOCK: Final = 119
_CLAIM_PORT: Final = 7016
_REMEMBERED: Final = "address-block"
_HALF: Final = 1 << 15


class AddressesExhaustedError(Exception):
    """No block, or no address in it, is free."""


@dataclass(frozen=True)
class Block:
    """One claimed 127.X.0.0/16; it stays claimed as long as ``claim`` is open."""

    number: int
    claim: socket.socket

    @property
    def kubernetes_ip(self) -> str:
        return self.service_address(1)

    def node_address(self, index: int) -> str:
        """The first node's is 127.X.0.1; the others' are at the end of the Services' half."""
        return self.pod_address(1) if index == 0 else self.service_address(_HALF - 256 + index)

    def pod_address(self, index: int) -> str:
        return f"127.{self.number}.{index >> 8}.{index & 255}"

    def service_address(self, index: int) -> str:
        return f"127.{self.number}.{128 + (index >> 8)}.{index & 255}"

    def holds_pod(self, address: str) -> bool:
        return self._index(address) in range(_HALF)

    def holds_service(self, address: str) -> bool:
        return self._index(address) in range(_HALF, 2 * _HALF)

    def close(self) -> None:
        self.claim.close()

    def _index(self, address: str) -> int:
        try:
            value = int(ipaddress.IPv4Address(address))
        except ValueError:
            return -1
        return value & 0xFFFF if value >> 16 == (127 << 8) + self.number else -1


def claim_block(data: Path) -> Block:
    """Claim the block this directory had before, or the next free one. Raises AddressesExhaustedError."""
    for number in _candidates(data):
        claim = _try_claim(number)
        if claim is not None:
            write_private(data / _REMEMBERED, f"{number}\n")
            return Block(number, claim)
    raise AddressesExhaustedError(
        f"no block of loopback addresses is free: port {_CLAIM_PORT} is taken on all of "
        f"127.{FIRST_BLOCK}.0.1 to 127.{LAST_BLOCK}.0.1; end another cluster or the program on that port"
    )


def _candidates(data: Path) -> Iterator[int]:
    count = LAST_BLOCK - FIRST_BLOCK + 1
    try:
        first = int((data / _REMEMBERED).read_text())
    except (OSError, ValueError):
        # Clusters start looking in different places, so one that was killed rarely loses its block.
        first = FIRST_BLOCK + zlib.crc32(str(data.resolve()).encode()) % count
    for step in range(count):
        yield FIRST_BLOCK + (first - FIRST_BLOCK + step) % count


def _try_claim(number: int) -> socket.socket | None:
    claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        claim.bind((f"127.{number}.0.1", _CLAIM_PORT))
        claim.listen(1)
    except OSError:
        claim.close()
        return None
    return claim


def is_claimed(number: int) -> bool:
    """Whether a cluster of this machine has the block now."""
    claim = _try_claim(number)
    if claim is not None:
        claim.close()
    return claim is None


def may_listen(host: str, port: int) -> bool:
    """Whether we have the right to; a port that is taken is our own relay's, so it may be used."""
    return not isinstance(_try_listening(host, port), PermissionError)


def nobody_listens(host: str, port: int) -> bool:
    return _try_listening(host, port) is None


def _try_listening(host: str, port: int) -> OSError | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


class PodAddresses:
    """Gives out pod addresses in turn. The pods themselves hold what is taken."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._last = 1

    def allocate(self, *, taken: Collection[str]) -> str:
        for step in range(1, _HALF):
            index = (self._last + step) % _HALF
            address = self._block.pod_address(index)
            if index & 255 not in {0, 255} and index > 1 and address not in taken:
                self._last = index
                return address
        raise AddressesExhaustedError("no pod address is free")


def allocate_service_address(block: Block, *, taken: Collection[str]) -> str:
    """The lowest free ClusterIP; the first ten are for the cluster itself."""
    for index in range(10, _HALF):
        address = block.service_address(index)
        if index & 255 not in {0, 255} and address not in taken:
            return address
    raise AddressesExhaustedError("no ClusterIP is free")

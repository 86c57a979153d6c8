"""Blobs on a disk, named by their SHA-256: whole ones, and parts that are still arriving.

    absent ──chunk──> part ──last chunk──> whole      parts/<sha256>  →  blobs/<sha256>
                       ▲ │
                       └─┴── a chunk must start where the part ends; anything else is told where that is

A part is appended to and hashed as it arrives. What was written when a connection broke stays, so an upload resumes
from any point, after any failure of either side; only after a restart is the part read again, to have its hash.
A whole blob appears by rename, after its bytes are on the disk, so a name in blobs/ is always true.

Memory is constant: a chunk is written as it comes. Methods that block on the disk run in threads.
"""

import asyncio
import errno
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_READ_BYTES: Final = 1 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class StoreError(Exception):
    """Something the uploader can act on."""


class WrongOffsetError(StoreError):
    """The chunk does not start where the part ends."""

    def __init__(self, *, received: int) -> None:
        super().__init__(f"The part ends at byte {received}: send from there.")
        self.received = received


class TooLongError(StoreError):
    """The chunk would make the part longer than the total announced."""


class WrongDigestError(StoreError):
    """All bytes came, but they are not what the name says; the part is gone."""


class DiskFullError(StoreError):
    """There is no room for the rest of the blob."""


@dataclass
class _Part:
    """A part being received: its hash so far, and how many bytes that hash has seen."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    hash: Any = None  # hashlib's own type has no public name
    hashed: int = 0


class Store:
    """All blobs below one directory. Digests given to its methods must have passed `is_digest`."""

    def __init__(self, directory: Path) -> None:
        self._blobs, self._parts = directory / "blobs", directory / "parts"
        self._directory = directory
        self._receiving: dict[str, _Part] = {}  # one lock a digest, for good: who waits for it must not lose it
        for folder in (self._blobs, self._parts):
            folder.mkdir(parents=True, exist_ok=True)

    def blob(self, digest: str) -> Path | None:
        """The file of a whole blob, or None."""
        path = self._blobs / digest
        return path if path.is_file() else None

    def received(self, digest: str) -> int:
        """Bytes of a blob that are here, whole or not."""
        for path in (self._blobs / digest, self._parts / digest):
            try:
                return path.stat().st_size
            except FileNotFoundError:
                continue
        return 0

    def free_bytes(self) -> int:
        """Room left on the disk."""
        return shutil.disk_usage(self._directory).free

    async def put(self, digest: str, *, offset: int, total: int, chunks: AsyncIterator[bytes]) -> bool:
        """Append a chunk that starts at byte `offset`; True when the blob is whole now.

        Raises a StoreError. Whatever `chunks` raises passes through; bytes it gave before that are kept.
        """
        part = self._receiving.setdefault(digest, _Part())
        async with part.lock:
            if self.blob(digest):
                return True
            received = self.received(digest)
            if offset != received:
                raise WrongOffsetError(received=received)
            if total - offset > self.free_bytes():
                raise DiskFullError(_no_room(missing=total - offset, free=self.free_bytes()))
            await self._rehash(digest, part=part, received=received)
            await self._append(digest, part=part, total=total, chunks=chunks)
            if part.hashed < total:
                return False
            await self._finish(digest, part=part)
            return True

    async def delete(self, digest: str) -> bool:
        """Remove a blob and any part of it; False when there was neither."""
        part = self._receiving.setdefault(digest, _Part())
        async with part.lock:
            there = [path for path in (self._blobs / digest, self._parts / digest) if path.exists()]
            for path in there:
                path.unlink()
            part.hash = None
        return bool(there)

    async def _rehash(self, digest: str, *, part: _Part, received: int) -> None:
        if part.hash is None or part.hashed != received:
            part.hash = await asyncio.to_thread(_hash_file, self._parts / digest)
            part.hashed = received

    async def _append(self, digest: str, *, part: _Part, total: int, chunks: AsyncIterator[bytes]) -> None:
        with (self._parts / digest).open("ab") as file:
            async for chunk in chunks:
                if part.hashed + len(chunk) > total:
                    raise TooLongError(f"More than the {total} bytes announced: the total or the offset is wrong.")
                try:
                    await asyncio.to_thread(_write, file, chunk=chunk, digest=part.hash)
                except OSError as error:
                    file.truncate(part.hashed)  # a write may have stopped half-way
                    if error.errno in _FULL:
                        missing = total - part.hashed
                        raise DiskFullError(_no_room(missing=missing, free=self.free_bytes())) from error
                    raise
                part.hashed += len(chunk)

    async def _finish(self, digest: str, *, part: _Part) -> None:
        path = self._parts / digest
        found = part.hash.hexdigest()
        part.hash = None
        if found != digest:
            path.unlink()
            raise WrongDigestError(f"The bytes have SHA-256 {found}: the part is discarded, send all of it again.")
        await asyncio.to_thread(_publish, path, to=self._blobs / digest)


def is_digest(text: str) -> bool:
    """Whether `text` is a SHA-256 in lower-case hex, and therefore a safe file name."""
    return bool(_DIGEST.fullmatch(text))


def _hash_file(path: Path) -> Any:
    digest = hashlib.sha256()
    if path.exists():
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    return digest


def _write(file: BinaryIO, *, chunk: bytes, digest: Any) -> None:
    file.write(chunk)
    file.flush()
    digest.update(chunk)


def _publish(path: Path, *, to: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.rename(to)
    folder = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _no_room(*, missing: int, free: int) -> str:
    return (
        f"The cache's disk has {free} bytes left and {missing} are still to come: "
        "make its volume larger, or delete models that nothing uses any more."
    )

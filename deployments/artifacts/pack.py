"""Pack uploaded files into one .tar.gz whose SHA-256 depends on names and contents only.

Files are sorted by path, and owners, times and the gzip header are blank, so the same folder packed twice is the same
artifact: it is stored once, pushed to a cluster once, and a deployment that did not change does not roll out. Files are
streamed and never opened for what they mean; a model is never unpickled here.

A path must stay inside: relative, forward slashes, no `..`, no empty parts, no control characters.
"""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, Final

from studio.errors import FieldErrors

_BLOCK: Final = 1 << 20
_LONGEST_PATH: Final = 500


@dataclass(frozen=True)
class Limits:
    """The most one artifact may hold. `subject` is how messages name it."""

    subject: str
    total_bytes: int
    files: int = 10_000


MODEL_LIMITS: Final = Limits(subject="a model", total_bytes=20 * 1024**3)
CODE_LIMITS: Final = Limits(subject="code", total_bytes=100 * 1024**2, files=2_000)


@dataclass(frozen=True)
class Packed:
    """What was packed: SHA-256 of the archive, its size, and the files in it."""

    digest: str
    size: int
    files: tuple[tuple[str, int], ...]  # (path, bytes)


def pack(files: Iterable[tuple[str, IO[bytes]]], *, into: IO[bytes], limits: Limits, field: str) -> Packed:
    """Write the archive of `files` (relative path, seekable file) into `into`. Raises FieldErrors at `field`."""
    members = _checked(files, limits=limits, field=field)
    writer = _Hashing(into)
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=writer, compresslevel=1, mtime=0) as zipped,
        tarfile.open(mode="w|", fileobj=zipped, format=tarfile.PAX_FORMAT, bufsize=_BLOCK) as archive,
    ):
        for path, size, file in members:
            archive.addfile(_member(path, size), file)
    return Packed(
        digest=writer.hash.hexdigest(), size=writer.size, files=tuple((path, size) for path, size, _ in members)
    )


def path_error(path: str) -> str:
    """What would be right for a path inside an artifact; empty when it is right."""
    if not path or len(path) > _LONGEST_PATH or any(ord(c) < 32 or ord(c) == 127 for c in path):
        return f"must be 1 to {_LONGEST_PATH} printable characters"
    parts = path.split("/")
    if "\\" in path or path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return "must stay inside the folder, with forward slashes and without . or .."
    return ""


def _checked(files: Iterable[tuple[str, IO[bytes]]], *, limits: Limits, field: str) -> list[tuple[str, int, IO[bytes]]]:
    found: dict[str, tuple[int, IO[bytes]]] = {}
    errors: list[str] = []
    for path, file in files:
        if error := path_error(path):
            errors.append(f"The path {path[:80]!r} {error}.")
        elif path in found:
            errors.append(f"{path} is there twice; each path must be there once.")
        else:
            found[path] = (_size(file), file)
    errors += _over_limits(found, limits=limits)
    if errors:
        raise FieldErrors({field: errors[:10]})
    return [(path, *found[path]) for path in sorted(found)]


def _over_limits(found: dict[str, tuple[int, Any]], *, limits: Limits) -> list[str]:
    if not found:
        return ["Must hold at least one file."]
    errors = []
    if len(found) > limits.files:
        errors.append(f"Must be {limits.files:,} files or less for {limits.subject}; these are {len(found):,}.")
    total = sum(size for size, _ in found.values())
    if total > limits.total_bytes:
        most = limits.total_bytes // 1024**2
        errors.append(f"Must be {most:,} MiB or less for {limits.subject}; these are {total // 1024**2:,} MiB.")
    inner = {str(parent) for path in found for parent in PurePosixPath(path).parents}
    errors += [f"{path} is a file and a folder; it must be one of them." for path in found if path in inner]
    return errors


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


def _member(path: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.size = size
    member.mode = 0o644
    member.mtime = 0
    return member


class _Hashing(io.RawIOBase):
    """A writer that hashes and counts what passes."""

    def __init__(self, into: IO[bytes]) -> None:
        self._into = into
        self.hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._into.write(data)
        self.hash.update(data)
        self.size += len(data)
        return len(data)

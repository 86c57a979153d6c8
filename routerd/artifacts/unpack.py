"""Unpack an archive that somebody else made, without letting it write anywhere but where it should.

Archives hold models and code of users; the worst of them is written to escape. So nothing of tarfile's or zipfile's own
extraction is used:

- Names are relative and without `..`; devices, FIFOs and encrypted members are refused; permissions shrink to
  "readable by all, executable if it was".
- Symbolic links are made last. No member is therefore ever written through a link, whatever the order in the archive.
- A link's target may climb with leading `..` no higher than the root and then only descend. That bounds every link by
  itself, so no chain of links leads out either (`a/..` over a link is how such chains are built).
- What counts against the caps is what is written, not what a header claims.

Standard library only: this runs before every replica.
"""

import gzip
import os
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Final

_BLOCK: Final = 1 << 20
_LINK_LIMIT: Final = 4096
_BROKEN: Final = (
    *(tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError),
    *(zipfile.BadZipFile, NotImplementedError, UnicodeError),
)


class UnsafeArchiveError(Exception):
    """The archive is refused; the message names the member and the rule."""


@dataclass(frozen=True)
class Caps:
    """The most an archive may hold."""

    members: int = 200_000
    total_bytes: int = 500 * 10**9


@dataclass(frozen=True)
class Unpacked:
    """What was written: regular files (links counted with them), and their bytes."""

    files: int
    total_bytes: int


@dataclass
class _Target:
    """A directory being filled, with what was put there so far."""

    root: Path
    caps: Caps
    members: int = 0
    written: int = 0
    files: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)  # path -> target, made at the end

    def enter(self, name: str) -> PurePosixPath | None:
        """The checked relative path of the next member; None for the root itself."""
        self.members += 1
        if self.members > self.caps.members:
            raise UnsafeArchiveError(f"it holds more than {self.caps.members} members")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            raise UnsafeArchiveError(f"{name!r} leads out of the directory it is unpacked into")
        return path if path.parts else None

    def directory(self, path: PurePosixPath) -> None:
        """Make a directory and its parents, none of which may be a link or a file."""
        (self.root / path).mkdir(parents=True, exist_ok=True)

    def file(self, path: PurePosixPath, *, source: IO[bytes], executable: bool) -> None:
        """Write a regular file; an earlier one of the same name is replaced."""
        self.directory(path.parent)
        self.links.pop(str(path), None)
        (self.root / path).unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(self.root / path, flags, 0o755 if executable else 0o644)
        with os.fdopen(descriptor, "wb") as file:
            while block := source.read(_BLOCK):
                self.written += len(block)
                if self.written > self.caps.total_bytes:
                    raise UnsafeArchiveError(f"it unpacks to more than {self.caps.total_bytes} bytes")
                file.write(block)
        self.files.add(str(path))

    def link(self, path: PurePosixPath, *, target: str) -> None:
        """Remember a symbolic link."""
        steps = PurePosixPath(target).parts
        climbs = next((n for n, step in enumerate(steps) if step != ".."), len(steps))
        if not target or PurePosixPath(target).is_absolute() or ".." in steps[climbs:]:
            raise UnsafeArchiveError(f"{str(path)!r} is a link to {target!r}: only plain relative links are allowed")
        if climbs > len(path.parts) - 1:
            raise UnsafeArchiveError(f"{str(path)!r} is a link to {target!r}, outside the archive")
        self.links[str(path)] = target

    def copy(self, path: PurePosixPath, *, of: str) -> None:
        """A hard link becomes one more name of a file already unpacked."""
        original = str(PurePosixPath(of))
        if original not in self.files:
            raise UnsafeArchiveError(f"{str(path)!r} is a hard link to {of!r}, which is not a file before it")
        if original == str(path):
            return
        self.directory(path.parent)
        (self.root / path).unlink(missing_ok=True)
        os.link(self.root / original, self.root / path)
        self.files.add(str(path))

    def finish(self) -> Unpacked:
        """Make the links; how much was unpacked."""
        # All parents first: then a link below another link fails, instead of being made wherever that one points.
        for path in self.links:
            self.directory(PurePosixPath(path).parent)
        for path, target in self.links.items():
            (self.root / path).symlink_to(target)
        return Unpacked(files=len(self.files) + len(self.links), total_bytes=self.written)


def unpack(archive: Path, *, into: Path, caps: Caps) -> Unpacked:
    """Unpack a .tar (plain or compressed) or .zip into the directory `into`, which must exist and be empty.

    Raises UnsafeArchiveError, also for what is no archive at all, and OSError for the disk. On an error `into` is left
    half-filled: the caller removes it.
    """
    target = _Target(root=into, caps=caps)
    try:
        if _starts_with(archive, magic=(b"PK\x03\x04", b"PK\x05\x06")):
            _unpack_zip(archive, target=target)
        else:
            _unpack_tar(archive, target=target)
        return target.finish()
    except _BROKEN as error:
        raise UnsafeArchiveError(f"it is neither a whole .tar nor a whole .zip archive ({error})") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise UnsafeArchiveError(f"two members claim one path ({error.filename})") from error


def _starts_with(archive: Path, *, magic: tuple[bytes, ...]) -> bool:
    with archive.open("rb") as file:
        return file.read(4).startswith(magic)


def _unpack_tar(archive: Path, *, target: _Target) -> None:
    compressed = _starts_with(archive, magic=(b"\x1f\x8b",))
    with tarfile.open(archive, "r:gz" if compressed else "r:") as tar:
        for member in tar:
            path = target.enter(member.name)
            if path is None:
                continue
            if member.isdir():
                target.directory(path)
            elif member.issym():
                target.link(path, target=member.linkname)
            elif member.islnk():
                target.copy(path, of=member.linkname)
            elif member.isreg() and (source := tar.extractfile(member)):
                target.file(path, source=source, executable=bool(member.mode & stat.S_IXUSR))
            else:
                raise UnsafeArchiveError(f"{member.name!r} is a device, FIFO or other special file")
            tar.members = []  # type: ignore[attr-defined]  # else it remembers all: 200,000 are 100 MB


def _unpack_zip(archive: Path, *, target: _Target) -> None:
    with zipfile.ZipFile(archive) as bundle:
        for member in bundle.infolist():
            path = target.enter(member.filename)
            mode = member.external_attr >> 16
            if path is None:
                continue
            if member.flag_bits & 0x1:
                raise UnsafeArchiveError(f"{member.filename!r} is encrypted")
            if member.is_dir():
                target.directory(path)
            elif stat.S_ISLNK(mode):
                target.link(path, target=_read_link(bundle, member=member))
            elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
                with bundle.open(member) as source:
                    target.file(path, source=source, executable=bool(mode & stat.S_IXUSR))
            else:
                raise UnsafeArchiveError(f"{member.filename!r} is a device, FIFO or other special file")


def _read_link(bundle: zipfile.ZipFile, *, member: zipfile.ZipInfo) -> str:
    if member.file_size > _LINK_LIMIT:
        raise UnsafeArchiveError(f"{member.filename!r} is a link with a target of {member.file_size} bytes")
    return os.fsdecode(bundle.read(member))

"""The init container: brings a replica's model and code onto its volume, and ends.

Each target directory holds a marker that says how far it is, so that running again (the kubelet restarts init
containers) does only what is missing, and never touches a directory it did not fill:

    absent or empty ──> "unpacking" ──> "whole"       with the same digest: nothing to do
                          │  ▲
                          └──┘ killed in between: cleared and unpacked again, the download goes on where it was

The archive and the unpacked tree lie inside the target until the last moment, because a target may be a volume's mount
point, which cannot be renamed; then everything unpacked moves up by rename. Standard library only: see the package.
"""

import argparse
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from routerd.artifacts.download import Cache, FetchError, download, size
from routerd.artifacts.unpack import Caps, UnsafeArchiveError, unpack

_MARKER: Final = ".slipway-artifact"
_DOWNLOAD: Final = ".slipway-download"
_UNPACK: Final = ".slipway-unpack"


@dataclass(frozen=True)
class Wanted:
    """One artifact: its SHA-256, the directory it belongs into, and what to call it in the log."""

    digest: str
    to: Path
    name: str


def main(argv: Sequence[str]) -> int:
    """Fetch everything asked for; 0, or 1 after a last line that names the cause and what to do."""
    arguments = _parse(argv)
    cache = Cache(url=os.environ.get("ROUTERD_ARTIFACTS_URL", ""), token=os.environ.get("ROUTERD_ARTIFACTS_TOKEN", ""))
    caps = Caps(members=arguments.max_files, total_bytes=arguments.max_bytes)
    os.umask(0o022)  # the model server runs as another user
    try:
        for wanted in _pair(arguments):
            fetch(wanted, cache=cache, caps=caps)
    except FetchError as error:
        _say(f"error: {error}")
        return 1
    return 0


def fetch(wanted: Wanted, *, cache: Cache, caps: Caps) -> None:
    """Bring one artifact into its directory, unless it is there already. Raises FetchError."""
    with _explained(wanted):
        if _is_whole(wanted):
            _say(f"{wanted.name}: already in {wanted.to}")
            return
        _prepare(wanted)
        archive = wanted.to / _DOWNLOAD
        download(wanted.digest, cache=cache, to=archive, name=wanted.name, say=_say)
        staging = wanted.to / _UNPACK
        staging.mkdir()
        result = unpack(archive, into=staging, caps=caps)
        archive.unlink()
        _move_up(staging)
        _mark(wanted, state="whole")
        files = "1 file" if result.files == 1 else f"{result.files:,} files"
        _say(f"{files} in {wanted.to} ({size(result.total_bytes)}), SHA-256 as registered")


@contextmanager
def _explained(wanted: Wanted) -> Iterator[None]:
    """Turn what the disk or the archive refuses into a FetchError."""
    try:
        yield
    except UnsafeArchiveError as error:
        shutil.rmtree(wanted.to / _UNPACK, ignore_errors=True)
        raise FetchError(
            f"{wanted.name}: the archive is refused: {error}. Register the model again with files only inside it."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "Give the instance type more ephemeral storage."
        else:
            advice = f"Check that the volume at {wanted.to} can be written by user {os.getuid()}."
        raise FetchError(f"{wanted.name}: {error.strerror} ({error.filename or wanted.to}). {advice}") from error


def _is_whole(wanted: Wanted) -> bool:
    return _read_marker(wanted.to) == {"digest": wanted.digest, "state": "whole"}


def _prepare(wanted: Wanted) -> None:
    """Make the directory ours and empty, but for a download that can go on."""
    wanted.to.mkdir(parents=True, exist_ok=True)
    marker = _read_marker(wanted.to)
    found = [path for path in wanted.to.iterdir() if path.name != "lost+found"]
    if found and marker is None:
        raise FetchError(
            f"{wanted.name}: {wanted.to} holds other files ({found[0].name}). Mount an empty volume there."
        )
    for path in found:
        if path.name == _MARKER or (path.name == _DOWNLOAD and marker and marker["digest"] == wanted.digest):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    _mark(wanted, state="unpacking")


def _move_up(staging: Path) -> None:
    for path in staging.iterdir():
        path.rename(staging.parent / path.name)
    staging.rmdir()


def _mark(wanted: Wanted, *, state: str) -> None:
    draft = wanted.to / f"{_MARKER}.new"
    draft.write_text(json.dumps({"digest": wanted.digest, "state": state}))
    draft.replace(wanted.to / _MARKER)


def _read_marker(directory: Path) -> dict[str, str] | None:
    try:
        marker = json.loads((directory / _MARKER).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return {"digest": "", "state": "unpacking"}
    return {"digest": str(marker.get("digest")), "state": str(marker.get("state"))}


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m routerd.artifacts fetch",
        description="Fetch artifacts from ROUTERD_ARTIFACTS_URL with ROUTERD_ARTIFACTS_TOKEN and unpack them.",
    )
    parser.add_argument("--digest", action="append", required=True, help="SHA-256 (64 hex digits); repeat")
    parser.add_argument("--to", action="append", required=True, type=Path, help="its directory; repeat")
    parser.add_argument("--name", action="append", default=[], help="its name in the log; repeat")
    parser.add_argument("--max-files", type=int, default=Caps.members)
    parser.add_argument("--max-bytes", type=int, default=Caps.total_bytes)
    arguments = parser.parse_args(argv)
    if len(arguments.to) != len(arguments.digest) or len(set(arguments.to)) != len(arguments.to):
        parser.error("every --digest needs its own --to")
    if arguments.name and len(arguments.name) != len(arguments.digest):
        parser.error("name all artifacts or none")
    if bad := [d for d in arguments.digest if len(d) != 64 or not set(d) <= set("0123456789abcdef")]:
        parser.error(f"{bad[0]!r} is not a SHA-256 in lower-case hex")
    return arguments


def _pair(arguments: argparse.Namespace) -> Iterator[Wanted]:
    names = arguments.name or [digest[:12] for digest in arguments.digest]
    for digest, to, name in zip(arguments.digest, arguments.to, names, strict=True):
        yield Wanted(digest=digest, to=to, name=name)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()

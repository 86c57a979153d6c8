"""Memory limits by control groups, version 1 or 2, where the cluster may make them (usually: as root).

Elsewhere limits are not enforced, and the node says so (annotation ``slipway.dev/memory-limits``).
"""

import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_ROOT: Final = Path("/sys/fs/cgroup")
_PREFIX: Final = "slipway-"


def find_memory_cgroup(number: int) -> Path | None:
    """A directory below which limits can be set, made if need be; None where that is not allowed.

    ``number`` is that of the cluster's block of addresses.
    """
    for parent in _candidates():
        home = parent / f"{_PREFIX}{number}"
        try:
            home.mkdir(exist_ok=True)
            if (home / "cgroup.subtree_control").exists():
                (home / "cgroup.subtree_control").write_text("+memory")
            probe = home / f"probe-{uuid.uuid4().hex[:8]}"
            probe.mkdir()
            works = _limit_file(probe) is not None
            probe.rmdir()
        except OSError:
            continue
        if works:
            return home
    return None


def _candidates() -> list[Path]:
    own = _own_paths()
    found = []
    if (_ROOT / "memory").is_dir():
        found.append(_ROOT / "memory" / own.get("memory", "").lstrip("/"))
    if (_ROOT / "cgroup.controllers").exists():
        found.append(_ROOT / own.get("", "").lstrip("/"))
    return found


def _own_paths() -> dict[str, str]:
    """Controller ("" for version 2) -> this process's cgroup."""
    paths: dict[str, str] = {}
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return paths
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _limit_file(directory: Path) -> Path | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        if os.access(directory / name, os.W_OK):
            return directory / name
    return None


def make_memory_cgroup(parent: Path, *, name: str, limit: int) -> tuple[Path, ...]:
    """A new cgroup with this limit in bytes; nothing when it cannot be made."""
    directory = parent / f"{name}-{uuid.uuid4().hex[:8]}"
    try:
        directory.mkdir()
        file = _limit_file(directory)
        if file is None:
            directory.rmdir()
            return ()
        file.write_text(str(limit))
        for swap in ("memory.memsw.limit_in_bytes",):
            if (directory / swap).exists():
                (directory / swap).write_text(str(limit))
        if (directory / "memory.swap.max").exists():
            (directory / "memory.swap.max").write_text("0")
    except OSError as error:
        log.warning("Memory limit not enforced container=%s: %s", name, error)
    return (directory,) if directory.is_dir() else ()


def sweep_cgroups(*, is_claimed: Callable[[int], bool]) -> None:
    """Remove what clusters that were killed left empty; not that of a cluster that runs."""
    for parent in _candidates():
        for home in parent.glob(f"{_PREFIX}*"):
            number = home.name.removeprefix(_PREFIX)
            if number.isdigit() and not is_claimed(int(number)):
                remove_cgroups(home)


def remove_cgroups(home: Path) -> None:
    """Remove the emptied cgroups of a cluster; those still in use stay."""
    if not home.is_dir():
        return
    for directory in [*(path for path in home.iterdir() if path.is_dir()), home]:
        try:
            directory.rmdir()
        except OSError:
            continue

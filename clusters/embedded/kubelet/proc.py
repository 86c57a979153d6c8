"""Processes as /proc shows them: when they began, what is below them. Standard library only, see linux.py."""

import contextlib
from pathlib import Path

# Where proc_pid_stat(5) has them, counted behind the name in parentheses.
_STATE, _SESSION, _STARTED = 0, 3, 19


def _stat(pid: int) -> list[str]:
    """The fields behind the name; none when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def start_ticks(pid: int) -> int:
    """When a process began, in the kernel's ticks: with its id, a name nothing else ever gets."""
    fields = _stat(pid)
    return int(fields[_STARTED]) if fields else 0


def descendants(pid: int) -> set[int]:
    """All processes below ``pid``, zombies left out."""
    found: set[int] = set()
    todo = [pid]
    while todo:
        fresh = _children(todo.pop()) - found
        found |= fresh
        todo += fresh
    return {child for child in found if (_stat(child) or "X")[_STATE] not in "ZX"}


def _children(pid: int) -> set[int]:
    """Of all its threads."""
    children: set[int] = set()
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                children |= {int(child) for child in (thread / "children").read_text().split()}
    return children


def session_members(leader: int, *, started_at: int | None) -> list[int]:
    """Processes of the session, unless the leader's id has been given to something else since."""
    if start_ticks(leader) not in {0, started_at}:
        return []
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (fields := _stat(pid)) and int(fields[_SESSION]) == leader]

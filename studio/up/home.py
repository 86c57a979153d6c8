"""The home folder: one Slipway at a time, its files readable by its own user only.

HOME/lock            held (flock) while a studio runs here; says which process
HOME/slipway.sqlite3 the studio's rows
HOME/secrets/        keys it made (studio/homefile.py)
HOME/files/          artifacts
HOME/cluster/        the embedded cluster
HOME/run/            what is running: cluster.json
HOME/first-run.json  there when the sample has been deployed once
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from studio.up.errors import CannotStartError

NEEDED_BYTES = 300_000_000


@contextlib.contextmanager
def open_home(path: Path) -> Iterator[Path]:
    """The home folder, made if it is missing and held for as long as the block runs."""
    home = path.resolve()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / "run").mkdir(exist_ok=True, mode=0o700)
        check_disk(home)
        file = open_lock(home / "lock")
    except OSError as error:
        raise CannotStartError(explain(error, home=home)) from error
    with file:
        yield home


def check_disk(home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < NEEDED_BYTES:
        raise CannotStartError(
            f"The disk is full: {free / 1e6:.0f} MB are free under {home} and 300 MB are needed. "
            "Free some, or set SLIPWAY_HOME to a folder on another disk."
        )


def open_lock(path: Path) -> contextlib.AbstractContextManager[object]:
    """The lock file, locked; closing it unlocks. The kernel drops the lock of a process that was killed."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise CannotStartError(
            f"Slipway already runs in {path.parent} (process {holder}). Stop it, or set SLIPWAY_HOME, SLIPWAY_PORT "
            "and SLIPWAY_ROUTER_PORT for a second one."
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def explain(error: OSError, *, home: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk under {home} is full. Free about 300 MB, or set SLIPWAY_HOME to a folder on another disk."
    return (
        f"The home folder {home} cannot be written: {error.strerror}. Set SLIPWAY_HOME to a folder that belongs to you."
    )

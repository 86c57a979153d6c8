"""The directory a cluster keeps everything in: held by one process at a time, ended when that one is dead."""

import fcntl
import os
import re
import tempfile
from pathlib import Path
from typing import Final, TextIO

from clusters.embedded.addresses import is_claimed
from clusters.embedded.kubelet.cgroups import sweep_cgroups
from clusters.embedded.kubelet.kubelet import end_containers
from clusters.embedded.private_files import open_private

_END_SECONDS: Final = 5.0


class ClusterError(Exception):
    """The cluster cannot be opened; the message is one sentence for the user."""


def lock_data(data: Path) -> TextIO:
    """Hold the directory for this process. Raises ClusterError when another one does."""
    lock = open_private(data / "lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise ClusterError(f"a cluster is already running in {data} (process {holder})") from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


async def end_all(data: Path) -> None:
    """End the containers a dead cluster left behind. Raises ClusterError while one is alive."""
    if not data.is_dir():
        return
    with lock_data(data):
        await end_containers(list((data / "pods").glob("*")), grace=_END_SECONDS)
        sweep_cgroups(is_claimed=is_claimed)


def alias_without_spaces(data: Path) -> Path | None:
    """Another path for a directory whose own has spaces, in a new directory; None where it has none.

    Without namespaces the path is put into the pods' shell commands.
    """
    if not re.search(r"\s", str(data)):
        return None
    alias = Path(tempfile.mkdtemp(prefix="slipway-")) / "data"
    alias.symlink_to(data)
    return alias

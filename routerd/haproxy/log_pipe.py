"""The pipe HAProxy writes its access log to: one line per logged request.

    HAProxy (standard output) ──line──> log.pipe, 1 MB ──> the control process (see routerd.access_log)

It is a named pipe of the run directory that both sides hold open for reading and writing, so that what is in it
outlives either of them: while nobody reads, lines wait, and when it is full HAProxy drops what comes (and never waits).
Lines are shorter than PIPE_BUF, so those of an old and a new worker never mix.

Why not datagrams: the kernel keeps ten of them, so that of a burst of refusals most were never logged; and each wakes
its reader, which costs HAProxy as much as half a request. Standard library only, and little of it: see the supervisor.
"""

import fcntl
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final

PIPE_BYTES: Final = 1 << 20  # what anybody may ask for


def open_log_pipe(path: Path) -> FileIO:
    """Both ends of the pipe, which never block; it is made where there is none. Raises OSError."""
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    pipe = FileIO(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC), "r+")
    with suppress(OSError):  # a system that allows less: bursts are dropped sooner
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return pipe

"""HAProxy's access log as it is read: from the pipe, many lines at a time.

A reader that waits for every line would be woken for every line, and waking somebody is dear: for HAProxy, which does
it, and for the models, whose core it may be. So it looks, takes all there is, and sleeps a little, as network cards do.
"""

import asyncio
from collections.abc import AsyncGenerator
from io import FileIO
from pathlib import Path
from typing import Final

from routerd.haproxy.log_pipe import PIPE_BYTES, open_log_pipe

_READ_BYTES: Final = 1 << 16
_PAUSE_SECONDS: Final = 0.01


async def read_log(path: Path) -> AsyncGenerator[list[bytes], None]:
    """Lines without their ends: first those (if any) that came while nobody read, then some hundred at most at a time.

    Ends only when it is closed. Raises OSError.
    """
    with open_log_pipe(path) as pipe:
        *lines, rest = (pipe.read(PIPE_BYTES) or b"").split(b"\n")
        yield lines
        while True:
            await _wait_readable(pipe)
            while part := pipe.read(_READ_BYTES):
                *lines, rest = (rest + part).split(b"\n")
                yield lines
                await asyncio.sleep(0)  # lines may come faster than they are read: let others run
            await asyncio.sleep(_PAUSE_SECONDS)


async def _wait_readable(pipe: FileIO) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(pipe, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(pipe)

"""Reloading HAProxy through its master: only for what its runtime API cannot do (more slots)."""

import asyncio
from typing import Final

from routerd.haproxy.process import HaproxyError, log_tail
from routerd.settings import Settings

_PAUSE_SECONDS: Final = 0.05


async def reload_haproxy(settings: Settings, *, timeout_seconds: float = 30.0) -> None:
    """Replace the worker by one that starts from the files on disk; raises HaproxyError with HAProxy's words.

    The old worker finishes what it has, so for that time a replica may get its concurrency twice.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await _connect(settings)
            writer.write(b"reload\n")
            answer = (await reader.read()).decode(errors="replace")
            writer.close()
    except (OSError, TimeoutError) as error:
        raise HaproxyError(f"HAProxy's master socket {settings.master_socket}: {error!r}") from error
    if "Success=1" not in answer:
        raise HaproxyError(f"HAProxy refused its new configuration: {log_tail(settings.run_dir)}")


async def _connect(settings: Settings) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the master, which does not listen for a moment while it replaces itself."""
    tries = 50
    while True:
        try:
            return await asyncio.open_unix_connection(str(settings.master_socket))
        except ConnectionRefusedError:
            tries -= 1
            if not tries:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)

"""What handlers share: the registry, who is let in to do what, and the way to pods."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import aiohttp
from aiohttp import web

from clusters.embedded.auth import Authenticator
from clusters.embedded.authorizer import Authorizer
from clusters.embedded.journal import Watch
from clusters.embedded.registry import Registry
from clusters.embedded.tls import Identity


class PodAccess(Protocol):
    """What the API server needs of the kubelet. A pod's address it reads from its status."""

    def log_path(self, namespace: str, pod: str, container: str, previous: bool = False) -> Path | None:
        """The container's current (or previous) log file, in the CRI's format; it may not exist yet."""

    async def log_finished(self, namespace: str, pod: str, container: str) -> None:
        """Return once nothing will be added to the container's current log file any more."""


@dataclass
class Context:
    registry: Registry
    authenticator: Authenticator
    authorizer: Authorizer
    pods: PodAccess
    identity: Identity | None = None  # there while the server listens
    session: aiohttp.ClientSession | None = None  # there while the application runs
    watches: set[Watch] = field(default_factory=set)  # running over HTTP
    closing: asyncio.Event = field(default_factory=asyncio.Event)  # the server is going down


CONTEXT: Final = web.AppKey("context", Context)

"""The control process: every task of routerd, owned in one place.

    watch ──table──> reconciler ──commands──> HAProxy
                        │ in force
                        ├──> status   ├──> scaler   ├──> load   └──> admin

One asyncio.TaskGroup holds them all: when one fails the process ends with its error, HAProxy goes on serving
and the supervisor starts a new control process, which adopts what HAProxy runs. Nothing is started elsewhere.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import IO, Final

from lightkube.core.async_client import AsyncClient

from routerd import kubernetes
from routerd.certificates import CertificateKeeper
from routerd.control import CertificateState, InForce, Router
from routerd.haproxy.maps import HaproxyFiles
from routerd.haproxy.runtime import Runtime
from routerd.objects_file import follow_file
from routerd.peers import Ring
from routerd.reconciler import Reconciler
from routerd.routes import RoutingTable
from routerd.settings import Settings
from routerd.slots import SlotTable
from routerd.watch import Watcher

log = logging.getLogger(__name__)

Part = Callable[[Router], Awaitable[None]]

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
NOT_READY_SIGNAL: Final = signal.SIGUSR1  # the supervisor is about to stop HAProxy


class AlreadyRunningError(Exception):
    """Another control process owns this run directory."""


class Daemon:
    """The running router; implements control.Router."""

    def __init__(self, settings: Settings, *, kube: AsyncClient | None = None, parts: Sequence[Part] = ()) -> None:
        self.settings = settings
        self.kube = kube
        self.runtime = Runtime(settings.admin_socket)
        self.reconciler = Reconciler(settings, files=HaproxyFiles(settings), runtime=self.runtime)
        self.keeper = CertificateKeeper(settings, runtime=self.runtime)
        self.watcher: Watcher | None = None
        self._parts = parts
        self._draining = False

    def table(self) -> RoutingTable | None:
        """The table wanted now; None before the first list of everything is complete."""
        return self.reconciler.table()

    def slots(self) -> SlotTable:
        """Which HAProxy backend serves which deployment now."""
        return self.reconciler.slots()

    def in_force(self) -> Mapping[str, InForce]:
        """What HAProxy really has, by `namespace/name`."""
        return self.reconciler.in_force()

    def ready(self) -> bool:
        """Whether callers should be sent here."""
        return not self._draining and self.reconciler.settled() and self.keeper.looked()

    def certificates(self) -> tuple[CertificateState, ...]:
        """What callers by TLS are shown."""
        return self.keeper.states()

    def lost_at(self) -> float | None:
        """Since when the API server has not been heard of; None while it is, or where there is none."""
        return self.watcher.lost_at() if self.watcher else None

    def ring(self) -> Ring | None:
        """The routers that take requests now; None while they are not known."""
        return self.reconciler.ring()

    async def wait_change(self, *, seen: int) -> int:
        """Wait for a version of the table or of what is in force newer than `seen`."""
        return await self.reconciler.wait_change(seen=seen)

    def report_service_time(self, *, slot: str, seconds: float) -> None:
        """What Retry-After of a slot should say."""
        self.reconciler.report_service_time(slot=slot, seconds=seconds)

    def stop_being_ready(self) -> None:
        """Answer "not ready" from now on, and go on with everything else."""
        if not self._draining:
            self._draining = True
            self.reconciler.leave_ring()
            log.info("Draining: not ready any more")

    async def run(self) -> None:
        """All parts until one fails or this is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.reconciler.run(), name="reconciler")
            if self.settings.tls_port:
                group.create_task(self.keeper.run(), name="certificates")
            if self.kube is not None:
                self.watcher = Watcher(
                    self.settings,
                    client=self.kube,
                    offer=self.reconciler.offer,
                    offer_ring=self.reconciler.offer_ring,
                    offer_secrets=self.keeper.offer,
                )
                group.create_task(self.watcher.run(), name="watch")
            elif self.settings.objects is not None:
                follow = follow_file(
                    self.settings,
                    offer=self.reconciler.offer,
                    offer_ring=self.reconciler.offer_ring,
                    offer_secrets=self.keeper.offer,
                )
                group.create_task(follow, name="objects")
            for part in self._parts:
                group.create_task(_as_coroutine(part, self), name=getattr(part, "__name__", "part"))


async def _as_coroutine(part: Part, router: Router) -> None:
    await part(router)


def control_parts() -> tuple[Part, ...]:
    """What observes, scales and reports; each a coroutine over control.Router."""
    from routerd.admin.server import run_admin
    from routerd.autoscale.scaler import run_scaler
    from routerd.colleagues import run_colleagues
    from routerd.key_use import run_key_use
    from routerd.load import run_load
    from routerd.memory import run_memory
    from routerd.status import run_status
    from routerd.stream_limits import run_stream_limits

    return run_load, run_colleagues, run_key_use, run_stream_limits, run_scaler, run_status, run_memory, run_admin


async def run_control(settings: Settings) -> None:
    """The control process: run until SIGTERM, or until the supervisor that started us is gone."""
    with owning(settings):
        kube = kubernetes.connect(settings)
        daemon = Daemon(settings, kube=kube, parts=control_parts())
        work = asyncio.create_task(daemon.run())
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, work.cancel)
        loop.add_signal_handler(NOT_READY_SIGNAL, daemon.stop_being_ready)
        loop.add_reader(sys.stdin.fileno(), _leave_with_supervisor, work)
        with contextlib.suppress(asyncio.CancelledError):
            await work
        if kube is not None:
            await kube.close()


def _leave_with_supervisor(work: "asyncio.Task[None]") -> None:
    """Standard input ends when the supervisor does; another one will start another control process."""
    if not os.read(sys.stdin.fileno(), 1):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        log.info("The supervisor is gone, leaving HAProxy as it is")
        work.cancel()


@contextlib.contextmanager
def owning(settings: Settings) -> Iterator[IO[str]]:
    """Hold the run directory for one control process; raises AlreadyRunningError."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    with (settings.run_dir / "control.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunningError(f"another routerd controls {settings.run_dir}") from error
        yield lock

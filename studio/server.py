"""The studio as one process: web server in the main thread, tasks, clock and watcher in threads around it.

    bind the port -> collect static files -> queue unfinished Operations again -> serve -> worker, beat, watcher
    SIGTERM or SIGINT -> stop serving (open sockets get a second) -> watcher, beat and worker, all at once -> return

uvicorn would raise the signal again after its shutdown, so nothing after it would ever run: the signals are ours.
With Redis, worker, beat and watcher are processes of their own, and this serves pages only.
"""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

import django
import structlog
import uvicorn
from django.db import connections

from studio.env import Env
from studio.errors import SlipwayError

log = structlog.get_logger(__name__)

SOCKETS_GET = 1  # seconds for open requests and sockets at the end
THREADS_GET = 3.5  # seconds for tasks, clock and watcher after that


class PortTakenError(SlipwayError):
    """The studio cannot listen where it should."""


class StudioServer(uvicorn.Server):
    """uvicorn that leaves the signals alone and says when it listens."""

    def __init__(self, config: uvicorn.Config, *, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._listening()


def make_server(application: object, *, listening: Callable[[], None], proxies: str = "") -> StudioServer:
    """A server for `application`; `listening` is called on its loop once requests are answered.

    `proxies` are addresses whose forwarding headers are believed; from anybody else an address somebody claims is not
    an address.
    """
    config = uvicorn.Config(
        application,  # type: ignore[arg-type]
        log_level="warning",
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_ping_interval=20,
        timeout_graceful_shutdown=SOCKETS_GET,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
    )
    return StudioServer(config, listening=listening)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is known before anything is started."""
    try:
        return socket.create_server((host, port), backlog=512)
    except OSError as error:
        raise PortTakenError(
            f"The studio cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}. "
            "Stop the program that has it, or set SLIPWAY_PORT to another port."
        ) from error


def run_server(
    *, env: Env, ready: Callable[[], None] | None = None, ending: Callable[[], None] | None = None
) -> list[str]:
    """Serve until SIGTERM or SIGINT; call from the main thread.

    `ready` runs in a thread of its own as soon as pages are answered, so it may call the studio itself; worker, beat
    and watcher follow when it returns, because whoever waits for the first page should not wait for them. `ending` is
    called when no more pages are answered; it ends what `ready` still waits for.
    Returns the names of threads that did not end in time (normally none); with some, leave by os._exit.
    Raises PortTakenError, and what kept the worker from starting.
    """
    listener = bind(env.host, env.port)
    application = _prepare()
    company = Company() if env.embedded else None
    if company:
        _requeue()
    troubles: list[Exception] = []

    def open_house() -> None:
        try:
            if ready is not None:
                ready()
            if company and not server.should_exit:
                company.start()
        except Exception as error:
            troubles.append(error)
            server.should_exit = True
        finally:
            connections.close_all()

    opening = threading.Thread(target=open_house, name="opening", daemon=True)
    server = make_server(application, listening=opening.start, proxies=env.proxies)
    try:
        with _signals_stop(server):
            asyncio.run(server.serve(sockets=[listener]))
    finally:
        if ending is not None:
            ending()
    if opening.ident is not None:
        opening.join(THREADS_GET)
    left = [opening.name] if opening.is_alive() else []
    left += company.stop(timeout=THREADS_GET) if company else []
    connections.close_all()
    if left:
        log.warning("Threads did not end in time", threads=left)
    if troubles:
        raise troubles[0]
    return left


def _prepare() -> object:
    """The application, with its static files in place. Costs a second that nobody should wait for a taken port."""
    django.setup()
    from studio.staticfiles import collect_if_changed  # these need Django set up

    collect_if_changed()
    from studio.asgi import application

    return application


def _requeue() -> None:
    """Before anybody can start an Operation, because it takes the claims of those that ran when the studio ended."""
    from studio.services.operations import requeue_unfinished

    if count := requeue_unfinished():
        log.info("Unfinished operations go on", count=count)


@contextmanager
def _signals_stop(server: uvicorn.Server) -> Generator[None, None, None]:
    def stop(number: int, _: FrameType | None) -> None:
        log.info("Stopping", signal=signal.Signals(number).name)
        server.force_exit = server.should_exit  # a second signal waits for nobody
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Company:
    """What runs beside the web server in embedded mode: worker, beat, watcher."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._ends: list[tuple[str, Callable[[], None]]] = []  # of those that were started

    def start(self) -> None:
        """Start all three. RuntimeError when the worker does not come up."""
        from studio.celery import app  # here, because Celery takes as long to import as Django
        from studio.worker import EmbeddedBeat, EmbeddedWorker

        worker = EmbeddedWorker(app)
        worker.start()
        self._ends.append(("celery-worker", worker.stop))
        beat = EmbeddedBeat(app)
        beat.start()
        self._ends.append(("celery-beat", beat.stop))
        watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)
        watcher.start()
        self._ends.append((watcher.name, watcher.join))

    def _watch(self) -> None:
        try:
            from deployments.watch import run_watcher  # the top of the house is the only place that knows both apps

            run_watcher(self._stop)
        except Exception:
            log.exception("The watcher broke; nothing is observed until the studio is started again")
        finally:
            connections.close_all()

    def stop(self, *, timeout: float) -> list[str]:
        """End all three within `timeout` seconds, at once. Names of those that did not."""
        self._stop.set()
        ending = [threading.Thread(target=end, name=name, daemon=True) for name, end in self._ends]
        for thread in ending:
            thread.start()
        until = time.monotonic() + timeout
        for thread in ending:
            thread.join(max(0.0, until - time.monotonic()))
        return [thread.name for thread in ending if thread.is_alive()]

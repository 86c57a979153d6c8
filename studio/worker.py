"""Celery inside the studio's own process: one worker with a pool of threads, one beat.

The queue is this process's memory, so it is empty after a restart; studio.services.operations.requeue_unfinished fills
it again from the rows.
"""

import threading

import structlog
from celery import Celery
from celery.beat import EmbeddedService, Scheduler
from celery.worker import WorkController, state
from django.db import connections

from studio.celery import load_tasks

log = structlog.get_logger(__name__)

THREADS = 8


class _Controller(WorkController):
    """A worker that says when it is ready."""

    def __init__(self, app: Celery, *, ready: threading.Event) -> None:
        self._ready = ready
        super().__init__(
            app=app, pool="threads", concurrency=THREADS, loglevel="WARNING", hostname="studio@slipway",
            without_heartbeat=True, without_mingle=True, without_gossip=True,
        )  # fmt: skip

    def on_consumer_ready(self, consumer: object) -> None:  # noqa: ARG002 - Celery's signature
        self._ready.set()


class EmbeddedWorker:
    """A running worker. start() returns when it takes tasks."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._ready = threading.Event()
        self._controller: _Controller | None = None
        self._thread = threading.Thread(target=self._run, name="celery-worker", daemon=True)

    def _run(self) -> None:
        self._controller = _Controller(self._app, ready=self._ready)
        self._controller.start()
        connections.close_all()

    def start(self, *, timeout: float = 20) -> None:
        """Raises RuntimeError when the worker is not ready within `timeout` seconds."""
        self._app.set_default()
        load_tasks()
        self._thread.start()
        if not self._ready.wait(timeout):
            raise RuntimeError("The task worker did not start. The log above says why.")

    def stop(self) -> None:
        """Take no more tasks and wait for those that run."""
        if self._controller is None:
            return
        state.should_stop = 0  # the exit code; Celery's own way, looked at between two messages
        for _ in range(2):  # it looks once before it stops and once after: each would else take two seconds
            self._app.send_task("studio.tasks.operations.push_stale")
        self._thread.join()
        state.should_stop = None


class EmbeddedBeat:
    """The clock of periodic tasks, in a thread."""

    def __init__(self, app: Celery) -> None:
        load_tasks()
        self._service = EmbeddedService(app, thread=True, scheduler_cls=Scheduler)

    def start(self) -> None:
        self._service.start()

    def stop(self) -> None:
        """Returns within a second."""
        self._service.stop()

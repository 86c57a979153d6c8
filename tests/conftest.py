"""What every test of the studio may ask for.

The cast: Alice owns the workspace, Bob belongs to it as a data scientist, Charlie is a stranger.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.db import connections
from django.test import Client

from studio.models import Membership, Role, Workspace
from studio.server import bind, make_server

PASSWORD = "harbourlight"


def _person(name: str) -> User:
    return User.objects.create_user(name, password=PASSWORD)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A database file instead of SQLite's memory: threads of the server and of the worker must see the same rows."""
    from django.conf import settings

    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database.setdefault("TEST", {})["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture
def workspace(db: None) -> Workspace:
    """The workspace harbour, of Alice and Bob."""
    return Workspace.objects.create(name="harbour")


@pytest.fixture
def alice(workspace: Workspace) -> User:
    """Owner."""
    user = _person("alice")
    Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
    return user


@pytest.fixture
def bob(workspace: Workspace) -> User:
    """Data scientist."""
    user = _person("bob")
    Membership.objects.create(workspace=workspace, user=user, role=Role.DATA_SCIENTIST)
    return user


@pytest.fixture
def charlie(workspace: Workspace) -> User:
    """A stranger, with a workspace of his own."""
    user = _person("charlie")
    Membership.objects.create(workspace=Workspace.objects.create(name="elsewhere"), user=user, role=Role.OWNER)
    return user


@pytest.fixture
def client_of() -> Callable[[User], Client]:
    """A signed-in test client of somebody."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


class LiveStudio:
    """A running studio: `url` is its address, without a slash at the end."""

    def __init__(self) -> None:
        from studio.asgi import application

        self.socket = bind("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.ready = threading.Event()
        self.server = make_server(ASGIStaticFilesHandler(application), listening=self.ready.set)
        self.thread = threading.Thread(target=self._run, name="live-studio")

    def _run(self) -> None:
        asyncio.run(self.server.serve(sockets=[self.socket]))

    def start(self) -> None:
        self.thread.start()
        if not self.ready.wait(10):
            raise RuntimeError("The studio did not start within 10 s.")

    def drop_sockets(self) -> int:
        """Cut every open websocket, as a broken network would. How many."""
        sockets = [each for each in self.server.server_state.connections if type(each).__name__.startswith("WebSocket")]
        for each in sockets:
            each.loop.call_soon_threadsafe(each.transport.abort)
        return len(sockets)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()
        if self.thread.is_alive():
            raise RuntimeError("The studio did not stop within 10 s.")


@pytest.fixture
def live_studio(transactional_db: None, settings: Any) -> Iterator[LiveStudio]:
    """A studio on a free port of loopback, with its own event loop in a thread."""
    settings.ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
    studio = LiveStudio()
    studio.start()
    yield studio
    studio.stop()
    connections.close_all()


@pytest.fixture
def celery_worker(transactional_db: None) -> Iterator[Any]:
    """A real worker in a thread, on the in-memory queue, for tests that follow a task to its end."""
    from studio.celery import app
    from studio.worker import EmbeddedWorker

    app.control.purge()
    worker = EmbeddedWorker(app)
    worker.start()
    yield worker
    worker.stop()
    connections.close_all()


@pytest.fixture(autouse=True, scope="session")
def _async_unsafe_allowed() -> None:
    """Playwright's synchronous API runs inside an event loop; Django would refuse the database there."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

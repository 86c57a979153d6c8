"""Sockets as a browser opens them: with cookie and Origin."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from websockets.sync.client import ClientConnection, connect

from tests.conftest import LiveStudio


class Socket:
    """A socket that speaks JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, message: Any) -> None:
        self.connection.send(json.dumps(message))

    def receive(self) -> Any:
        """The next message. Raises TimeoutError after 5 s, ConnectionClosed when the studio hung up."""
        return json.loads(self.connection.recv(timeout=5))

    def silent(self) -> bool:
        """Whether nothing comes within a third of a second."""
        try:
            self.connection.recv(timeout=0.3)
        except TimeoutError:
            return True
        return False


Open = Callable[..., Socket]


@pytest.fixture
def open_socket(live_studio: LiveStudio) -> Iterator[Open]:
    """open_socket("/live", alice) or with another origin."""
    with ExitStack() as stack:

        def open_one(path: str, user: User | None, *, origin: str | None = live_studio.url) -> Socket:
            client = Client()
            if user is not None:
                client.force_login(user)
            cookie = client.cookies[settings.SESSION_COOKIE_NAME].value if user else "nobody"
            headers = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={cookie}"}
            url = live_studio.url.replace("http", "ws") + path
            connection = connect(url, origin=origin, additional_headers=headers, proxy=None)  # type: ignore[arg-type]
            return Socket(stack.enter_context(connection))

        yield open_one

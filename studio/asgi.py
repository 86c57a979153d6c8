"""The ASGI application: Django's pages, the live socket and the log socket."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studio.settings")

from django.core.asgi import get_asgi_application

pages = get_asgi_application()  # sets Django up, which the imports below need

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from studio.sockets.live import LiveSocket  # noqa: E402
from studio.sockets.logs import LogSocket  # noqa: E402
from studio.sockets.origin import SameOrigin  # noqa: E402

sockets = SameOrigin(
    AuthMiddlewareStack(
        URLRouter([path("live", LiveSocket.as_asgi()), path("logs/<int:stream_id>", LogSocket.as_asgi())])
    )
)
application = ProtocolTypeRouter({"http": pages, "websocket": sockets})

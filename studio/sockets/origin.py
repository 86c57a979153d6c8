"""Only our own pages may open a socket: a browser sends cookies to any site's socket, so the Origin must be ours."""

from typing import Any
from urllib.parse import urlsplit

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import split_domain_port, validate_host


def same_origin(origin: str, *, host: str, allowed_hosts: list[str]) -> bool:
    """Whether a socket to `host` ("127.0.0.1:8000") opened by a page of `origin` ("http://127.0.0.1:8000") is ours."""
    parts = urlsplit(origin)
    domain, _ = split_domain_port(host.lower())
    return (
        parts.scheme in ("http", "https")
        and parts.netloc.lower() == host.lower()
        and validate_host(domain, allowed_hosts)
    )


class SameOrigin:
    """ASGI middleware around the sockets."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        headers = {name.lower(): value.decode("latin1") for name, value in scope["headers"]}
        origin, host = headers.get(b"origin", ""), headers.get(b"host", "")
        if not same_origin(origin, host=host, allowed_hosts=settings.ALLOWED_HOSTS):
            return await WebsocketDenier()(scope, receive, send)
        return await self.application(scope, receive, send)

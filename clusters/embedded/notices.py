"""Warnings of admission to whoever made the request, as `Warning` headers (kubectl prints them).

Admission is called by the registry and knows no request; the request's list of warnings is lent to it for as long as
the request lasts. A controller's own write has no request: nobody is warned.
"""

from contextvars import ContextVar
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from clusters.embedded.server.request import WARNINGS

_heard: Final[ContextVar[list[str] | None]] = ContextVar("warnings of this request", default=None)


def warn(text: str) -> None:
    """Add a warning to the answer of the request under way, once."""
    heard = _heard.get()
    if heard is not None and text not in heard:
        heard.append(text)


@web.middleware
async def notices(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A middleware inside of the one that makes the list."""
    _heard.set(request[WARNINGS])
    return await handler(request)

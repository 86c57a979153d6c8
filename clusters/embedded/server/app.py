"""One request, from the socket to the handler that knows its verb.

    who is it (401), on whose behalf -> what is wanted -> may they (403) -> is it served (404) -> handler


Everything an API error needs to become an answer happens here, so handlers only raise.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
from aiohttp import web

from clusters.embedded import auth
from clusters.embedded.authorizer import Authorizer
from clusters.embedded.errors import ApiError, Forbidden, MethodNotAllowed, Unauthorized
from clusters.embedded.rbac import Attributes
from clusters.embedded.registry import Registry
from clusters.embedded.resources import CERTIFICATE_SIGNING_REQUESTS
from clusters.embedded.selectors import exact_name
from clusters.embedded.server import (
    answer,
    certificates,
    discovery,
    impersonation,
    logs,
    objects,
    pods,
    proxy,
    reviews,
    scale,
    watching,
)
from clusters.embedded.server.context import CONTEXT, Context, PodAccess
from clusters.embedded.server.request import (
    ASKED,
    BODY_LIMIT,
    USER,
    WARNINGS,
    Asked,
    Place,
    find_asked,
    flag,
    read_path,
)
from clusters.embedded.tls import Identity

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Verb = Callable[[web.Request, Asked], Awaitable[web.StreamResponse]]

_SHUTDOWN_SECONDS: Final = 1.0

_OBJECT: Final[dict[str, Verb]] = {
    "GET": objects.get,
    "PUT": objects.update,
    "PATCH": objects.patch,
    "DELETE": objects.delete,
}
_COLLECTION: Final[dict[str, Verb]] = {
    "GET": objects.list_,
    "POST": objects.create,
    "DELETE": objects.delete_collection,
}
_STATUS: Final[dict[str, Verb]] = {"GET": objects.get, "PUT": objects.update, "PATCH": objects.patch}
_SCALE: Final[dict[str, Verb]] = {"GET": scale.get, "PUT": scale.update, "PATCH": scale.patch}
_SUBRESOURCES: Final[dict[str, dict[str, Verb]]] = {
    "status": _STATUS,
    "finalize": {"PUT": objects.update},
    "scale": _SCALE,
    "log": {"GET": logs.log},
    "eviction": {"POST": pods.evict},
    "binding": {"POST": pods.bind},
    "approval": {"GET": objects.get, "PUT": certificates.approve},
    "token": {"POST": reviews.token_request},
    "exec": dict.fromkeys(("GET", "POST"), pods.not_here),
    "attach": dict.fromkeys(("GET", "POST"), pods.not_here),
    "portforward": dict.fromkeys(("GET", "POST"), pods.not_here),
}
_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "HEAD": "get"}


def build_app(registry: Registry, *, authenticator: auth.Authenticator, pod_access: PodAccess) -> web.Application:
    """The application of the API server. `pod_access` is what it needs of the kubelet."""
    app = web.Application(middlewares=[_errors, _authentication], client_max_size=BODY_LIMIT)
    authorizer = Authorizer(registry)
    app[CONTEXT] = Context(registry=registry, authenticator=authenticator, authorizer=authorizer, pods=pod_access)
    app.router.add_route("*", "/{path:.*}", _handle)
    app.cleanup_ctx.append(_client)
    app.on_shutdown.append(_end_streams)
    return app


async def _client(app: web.Application):  # type: ignore[no-untyped-def] # aiohttp's own shape
    connector = aiohttp.TCPConnector(force_close=True, limit=0, ssl=False)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
        app[CONTEXT].session = session
        yield


async def _end_streams(app: web.Application) -> None:
    """Watches and followed logs end in an orderly way before the sockets close."""
    context = app[CONTEXT]
    context.closing.set()
    for watch in list(context.watches):
        watch.close()


class Server:
    """A listening API server; `port` is the one it got."""

    def __init__(self, runner: web.AppRunner, *, port: int) -> None:
        self._runner = runner
        self.port = port

    async def close(self) -> None:
        """Stop listening, end running watches and log streams.

        TLS would wait half a minute for each client's goodbye: whoever has not said it by now is cut off.
        """
        server = self._runner.server
        handlers = server.connections if server is not None else []
        transports = [handler.transport for handler in handlers if handler.transport is not None]
        await self._runner.cleanup()
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0)


async def serve(app: web.Application, *, identity: Identity, host: str = "127.0.0.1", port: int = 0) -> Server:
    """Listen with TLS. Raises OSError when the port is taken."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    app[CONTEXT].identity = identity
    context.load_cert_chain(identity.certificate, identity.key)
    context.load_verify_locations(identity.authority)
    context.verify_mode = ssl.CERT_OPTIONAL  # who shows a certificate must show one of ours
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=context)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    return Server(runner, port=runner.addresses[0][1])


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    request[WARNINGS] = []
    try:
        return await handler(request)
    except Forbidden as error:
        log.info("Refused: %s", error.message)
        return answer.status(request, error)
    except ApiError as error:
        return answer.status(request, error)
    except web.HTTPRequestEntityTooLarge as error:
        too_large = ApiError(str(error.reason), code=413, reason="RequestEntityTooLarge")
        return answer.status(request, too_large)
    except (asyncio.CancelledError, web.HTTPException, ConnectionError):
        raise
    except Exception as error:
        log.exception("A request failed: %s %s", request.method, request.path)
        return answer.status(request, ApiError(f"Internal error occurred: {error!r}"))


@web.middleware
async def _authentication(request: web.Request, handler: Handler) -> web.StreamResponse:
    context = request.app[CONTEXT]
    certificate = request.get_extra_info("peercert")
    user = context.authenticator.authenticate(request.headers.get("Authorization"), certificate=certificate)
    if user is None:
        raise Unauthorized("Unauthorized")
    request[USER] = impersonation.acting_user(request.headers, user, authorizer=context.authorizer)
    return await handler(request)


async def _handle(request: web.Request) -> web.StreamResponse:
    context = request.app[CONTEXT]
    if not request.path.startswith(("/api/", "/apis/")) or discovery.knows(request):
        context.authorizer.require(request[USER], Attributes(request.method.lower(), path=request.path))
        return await discovery.handle(request)
    place = read_path(request.rel_url.raw_path)
    context.authorizer.require(request[USER], _attributes(request, place))
    asked = request[ASKED] = find_asked(place, catalog=context.registry.catalog)
    return await _handler(request, asked)(request, asked)


def _handler(request: web.Request, asked: Asked) -> Verb:
    if asked.subresource == "proxy":
        return proxy.forward
    if asked.name is None and request.method == "GET" and flag(request, "watch"):
        return watching.watch
    if asked.name is None and asked.resource.verbs == ("create",):
        handlers: dict[str, Verb] = {"POST": reviews.review}
    elif asked.resource == CERTIFICATE_SIGNING_REQUESTS and request.method == "POST":
        handlers = {"POST": certificates.create}
    elif asked.subresource:
        handlers = _SUBRESOURCES[asked.subresource]
    else:
        handlers = _COLLECTION if asked.name is None else _OBJECT
    handler = handlers.get(request.method)
    if handler is None:
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    return handler


def _attributes(request: web.Request, place: Place) -> Attributes:
    """What a request for a resource wants. A namespace is within itself; a list of one name is about that name."""
    verb, name = _VERBS.get(request.method, "get"), place.name or ""
    if place.name is None and request.method in ("GET", "HEAD"):
        verb = "watch" if flag(request, "watch") else "list"
    elif place.name is None and request.method == "DELETE":
        verb = "deletecollection"
    if verb in ("list", "watch", "deletecollection"):
        name = exact_name(request.query.get("fieldSelector", ""))
    own = name if (place.group, place.plural) == ("", "namespaces") and place.name else ""
    return Attributes(
        verb,
        group=place.group,
        resource=place.plural,
        subresource=place.subresource,
        namespace=place.namespace or own,
        name=name,
        path=request.path,
    )

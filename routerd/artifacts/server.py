"""The artifact cache's HTTP side; what it promises is in `contract` and in the routes below.

    HEAD   /v1/blobs/<sha256>                 200 whole | 404 with x-slipway-received: <bytes so far>
    PUT    /v1/blobs/<sha256>?offset=N&total=M  200 part taken | 201 whole | 409 wrong offset, with the right one
                                              | 422 not that SHA-256, part discarded | 507 disk full
    GET    /v1/blobs/<sha256>                 the bytes; Range is understood
    DELETE /v1/blobs/<sha256>                 204 | 404
    GET    /healthz                           200, no token

An empty blob is refused nowhere: PUT with total=0 and no body makes it.
"""

import argparse
import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from aiohttp import web

from routerd import contract
from routerd.artifacts.store import (
    DiskFullError,
    Store,
    StoreError,
    TooLongError,
    WrongDigestError,
    WrongOffsetError,
    is_digest,
)
from routerd.artifacts.tokens import Access, TokenKeys

_STORE: Final = web.AppKey("store", Store)
_KEYS: Final = web.AppKey("keys", TokenKeys)
_PIECE_BYTES: Final = 1 << 20
_STATUS: Final[dict[type[StoreError], int]] = {
    WrongOffsetError: 409,
    TooLongError: 400,
    WrongDigestError: 422,
    DiskFullError: 507,
}

logger = logging.getLogger(__name__)


def build_app(store: Store, *, keys: TokenKeys) -> web.Application:
    """The cache as an aiohttp application."""
    app = web.Application()
    app[_STORE], app[_KEYS] = store, keys
    blob = contract.ARTIFACTS_BLOBS + "{digest}"
    app.router.add_get("/healthz", _healthz)
    app.router.add_route("HEAD", blob, _head)
    app.router.add_get(blob, _get, allow_head=False)
    app.router.add_put(blob, _put)
    app.router.add_delete(blob, _delete)
    return app


async def _healthz(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok", "free_bytes": request.app[_STORE].free_bytes()})


async def _head(request: web.Request) -> web.StreamResponse:
    digest = _digest(request)
    _require(request.app[_KEYS].may_read(_token(request), digest=digest))
    store = request.app[_STORE]
    if path := store.blob(digest):
        return web.FileResponse(path)
    return web.Response(status=404, headers=_received(store.received(digest)))


async def _get(request: web.Request) -> web.StreamResponse:
    digest = _digest(request)
    _require(request.app[_KEYS].may_read(_token(request), digest=digest))
    path = request.app[_STORE].blob(digest)
    if path is None:
        received = request.app[_STORE].received(digest)
        detail = f"The cache does not hold {digest}" + (f", only {received} bytes of it." if received else ".")
        return _problem(404, detail=detail, received=received)
    return web.FileResponse(path, chunk_size=_PIECE_BYTES, headers={"content-type": "application/octet-stream"})


async def _put(request: web.Request) -> web.Response:
    digest = _digest(request)
    _require(request.app[_KEYS].may_change(_token(request)))
    offset, total = _number(request, "offset"), _number(request, "total")
    store = request.app[_STORE]
    try:
        whole = await store.put(digest, offset=offset, total=total, chunks=_pieces(request))
    except StoreError as error:
        logger.warning("Refused a chunk of %s at %d: %s", digest, offset, error)
        return _problem(_STATUS[type(error)], detail=str(error), received=store.received(digest))
    if whole:
        logger.info("Stored %s, %d bytes", digest, total)
    return web.json_response(
        {"received": store.received(digest), "whole": whole},
        status=201 if whole else 200,
        headers=_received(store.received(digest)),
    )


async def _delete(request: web.Request) -> web.Response:
    digest = _digest(request)
    _require(request.app[_KEYS].may_change(_token(request)))
    if not await request.app[_STORE].delete(digest):
        return _problem(404, detail=f"The cache does not hold {digest}.")
    logger.info("Deleted %s", digest)
    return web.Response(status=204)


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    async for piece in request.content.iter_chunked(_PIECE_BYTES):
        yield piece


def _digest(request: web.Request) -> str:
    digest = request.match_info["digest"]
    if not is_digest(digest):
        raise _refusal(web.HTTPBadRequest, detail="A blob is named by its SHA-256 in 64 lower-case hex digits.")
    return digest


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if not (text.isascii() and text.isdigit()):
        raise _refusal(web.HTTPBadRequest, detail=f"?{name}= must be a whole number of bytes, not {text!r}.")
    return int(text)


def _token(request: web.Request) -> str:
    return request.headers.get(contract.ARTIFACTS_TOKEN_HEADER, "")


def _require(access: Access) -> None:
    if access is Access.UNKNOWN:
        detail = f"{contract.ARTIFACTS_TOKEN_HEADER} is missing or not a token of this cache."
        raise _refusal(web.HTTPUnauthorized, detail=detail)
    if access is Access.OTHER:
        raise _refusal(web.HTTPForbidden, detail="This token is not for this blob or this action.")


def _refusal(kind: type[web.HTTPError], *, detail: str) -> web.HTTPError:
    return kind(text=_problem(kind.status_code, detail=detail).text, content_type="application/problem+json")


def _problem(status: int, *, detail: str, received: int | None = None) -> web.Response:
    return web.json_response(
        {"type": "about:blank", "status": status, "detail": detail},
        status=status,
        content_type="application/problem+json",
        headers=None if received is None else _received(received),
    )


def _received(count: int) -> dict[str, str]:
    return {contract.ARTIFACTS_RECEIVED_HEADER: str(count)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m routerd.artifacts serve`."""
    parser.add_argument("--dir", required=True, type=Path, help="where the blobs lie")
    parser.add_argument("--bind", default=os.environ.get("POD_IP", ""), help="address (default: $POD_IP)")
    parser.add_argument("--port", default=contract.ARTIFACTS_PORT, type=int, help="0 picks a free one")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM; the exit code. Settings are read once, here."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    upload = os.environ.get("ROUTERD_ARTIFACTS_UPLOAD_TOKEN", "")
    signing = os.environ.get("ROUTERD_ARTIFACTS_SIGNING_KEY", "")
    for name, value in (("UPLOAD_TOKEN", upload), ("SIGNING_KEY", signing)):
        if len(value) < 16:
            logger.error("ROUTERD_ARTIFACTS_%s must be set, to at least 16 characters", name)
            return 2
    if not arguments.bind:
        logger.error("--bind or POD_IP must name the address to listen on")
        return 2
    store = Store(arguments.dir)
    app = build_app(store, keys=TokenKeys(upload=upload, signing=signing))
    asyncio.run(_serve(app, bind=arguments.bind, port=arguments.port))
    return 0


async def _serve(app: web.Application, *, bind: str, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=10)
    await runner.setup()
    try:
        site = web.TCPSite(runner, bind, port)
        await site.start()
        host, real_port = runner.addresses[0][:2]
        logger.info("Serving artifacts on http://%s:%d", host, real_port)
        await stopped.wait()
    finally:
        await runner.cleanup()
    logger.info("Stopped")

"""The admin API's HTTP side. Paths and headers are in `contract`; JSON in and out, errors as application/problem+json.

    GET  /healthz        200 while this process turns          (no token)
    GET  /readyz         200 when callers should be sent here  (no token)
    GET  /metrics        Prometheus text
    GET  /v1/samples     ?after=SEQ  {"router", "next", "last", "samples"}
    GET  /v1/decisions   ?after=SEQ  {"router", "next", "last", "decisions"}
    GET  /v1/report      what the leading router needs to know of the others, see `report`
    GET  /v1/table       {"router", "leading", "ready", "apiServerLostAt", "endpoints"}
    POST /v1/invoke      one request through HAProxy, see `invoke`

An answer holds at most a page of records: whoever finds `next` below `last` asks again at once. Without a token set,
everything but the probes is refused: an admin API that is open by mistake is worse than one that is shut.
"""

import asyncio
import hmac
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from aiohttp import web

from routerd import contract
from routerd.admin import invoke, metrics, report
from routerd.admin.table import describe_table
from routerd.board import Board, board_of
from routerd.control import Router
from routerd.haproxy.runtime import RuntimeUnavailable
from routerd.samples import Ring
from routerd.slots import SlotOwner

_PAGE: Final = 2_000
_BODY_BYTES: Final = 40 * 1024 * 1024  # a 10 MB body as JSON text may need several times that
_PROBES: Final = frozenset({contract.ADMIN_HEALTHZ, contract.ADMIN_READYZ})

_ROUTER: Final = web.AppKey("router", Router)
_BOARD: Final = web.AppKey("board", Board)

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def run_admin(router: Router) -> None:
    """Serve until cancelled."""
    runner = web.AppRunner(build_app(router), access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, router.settings.bind, router.settings.admin_port).start()
        logger.info("Admin API on %s:%d", *runner.addresses[0][:2])
        await asyncio.get_running_loop().create_future()
    finally:
        await runner.cleanup()


def build_app(router: Router) -> web.Application:
    """The admin API as an aiohttp application."""
    app = web.Application(middlewares=[_require_token], client_max_size=_BODY_BYTES)
    app[_ROUTER], app[_BOARD] = router, board_of(router)
    app.router.add_get(contract.ADMIN_HEALTHZ, _healthz)
    app.router.add_get(contract.ADMIN_READYZ, _readyz)
    app.router.add_get(contract.ADMIN_METRICS, _metrics)
    app.router.add_get(contract.ADMIN_SAMPLES, _samples)
    app.router.add_get(contract.ADMIN_DECISIONS, _decisions)
    app.router.add_get(contract.ADMIN_TABLE, _table)
    app.router.add_get(contract.ADMIN_REPORT, _report)
    app.router.add_post(contract.ADMIN_INVOKE, _invoke)
    return app


@web.middleware
async def _require_token(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path not in _PROBES:
        expected = request.app[_ROUTER].settings.read_admin_token()
        given = request.headers.get(contract.ADMIN_TOKEN_HEADER, "")
        if not expected:
            return _problem(503, detail="No admin token is set: give routerd --admin-token-file or --admin-token.")
        if not hmac.compare_digest(given.encode(), expected.encode()):
            return _problem(401, detail=f"{contract.ADMIN_TOKEN_HEADER} is missing or not this router's token.")
    return await handler(request)


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _readyz(request: web.Request) -> web.Response:
    ready = request.app[_ROUTER].ready()
    return web.json_response({"ready": ready}, status=200 if ready else 503)


async def _metrics(request: web.Request) -> web.Response:
    router = request.app[_ROUTER]
    unmirrored: Counter[SlotOwner] = Counter()
    dropped: int | None = None
    with suppress(RuntimeUnavailable):  # HAProxy is just starting; the rest is known all the same
        dropped = await router.runtime.show_dropped_records()
        for slot, count in (await router.runtime.show_unmirrored()).items():
            if owner := router.slots().lookup(slot):
                unmirrored[owner] += count
    text = metrics.render(router, board=request.app[_BOARD], unmirrored=unmirrored, dropped=dropped)
    return web.Response(text=text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})


async def _samples(request: web.Request) -> web.Response:
    return _page(request, ring=request.app[_BOARD].history.samples, name="samples")


async def _decisions(request: web.Request) -> web.Response:
    return _page(request, ring=request.app[_BOARD].history.decisions, name="decisions")


def _page(request: web.Request, *, ring: Ring[Any], name: str) -> web.Response:
    text = request.query.get("after", "0")
    if not (text.isascii() and text.isdigit()):
        return _problem(400, detail=f"?after= must be a sequence number, not {text!r}.")
    records, following = ring.after(int(text), limit=_PAGE)
    body = {"next": following, "last": ring.last, name: [record.to_json() for record in records]}
    return web.json_response({"router": router_name(request.app[_ROUTER])} | body)


async def _table(request: web.Request) -> web.Response:
    router, board = request.app[_ROUTER], request.app[_BOARD]
    return web.json_response(
        {
            "router": router_name(router),
            "leading": board.leading,
            "ready": router.ready(),
            "apiServerLostAt": router.lost_at(),
            "endpoints": describe_table(router, board=board),
        }
    )


async def _report(request: web.Request) -> web.Response:
    return web.json_response(report.describe(request.app[_ROUTER], board=request.app[_BOARD]))


async def _invoke(request: web.Request) -> web.Response:
    router = request.app[_ROUTER]
    try:
        call = invoke.read_call(await request.json(), table=router.table())
        return web.json_response(await invoke.make_call(call, socket=router.settings.invoke_socket))
    except ValueError as error:  # not JSON at all
        return _problem(400, detail=f"The body is not JSON: {error}")
    except invoke.InvokeError as error:
        return _problem(error.status, detail=str(error))


def router_name(router: Router) -> str:
    """`POD_NAME/POD_UID`: whose sequence numbers these are."""
    return f"{router.settings.pod_name}/{router.settings.pod_uid}"


def _problem(status: int, *, detail: str) -> web.Response:
    return web.json_response(
        {"type": "about:blank", "status": status, "detail": detail},
        status=status,
        content_type="application/problem+json",
    )

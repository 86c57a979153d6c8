"""Faults on demand, for tests of whatever uses a cluster. Only with `--faults`; asked for by its administrator.

GET    /faults                 the settings, as JSON
PATCH  /faults                 some of them
DELETE /faults                 none any more; lost nodes are switched on again
POST   /faults/drop-watches    cut every watch now: {"dropped": 3}
POST   /faults/compact         forget all history, as etcd does every five minutes: {"revision": "118"}

pauseSeconds           the API server answers nothing for so long, from now on; watches are silent too
errorRate, errorCode   this share of requests (0 to 1) fails with this code (503)
errorsAfter            true: they fail after they were carried out, so that only the answer is lost
watchDelaySeconds      each batch of a watch is so late
watchSeconds           a watch is cut after so long (0: never)
imagePullSeconds       an image takes so long to be there
endpointSliceSeconds   EndpointSlices follow their pods so late
lostNodes              names of nodes without power
"""

import asyncio
import dataclasses
import json
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from clusters.embedded.errors import ApiError, BadRequest, Forbidden, MethodNotAllowed, ServiceUnavailable
from clusters.embedded.rbac import MASTERS
from clusters.embedded.server.context import CONTEXT
from clusters.embedded.server.request import USER

_PATH: Final = "/faults"


@dataclass(frozen=True)
class Settings:
    """What goes wrong now; all off."""

    pauseSeconds: float = 0.0  # noqa: N815 - names as in the JSON
    errorRate: float = 0.0  # noqa: N815
    errorCode: int = 503  # noqa: N815
    errorsAfter: bool = False  # noqa: N815
    watchDelaySeconds: float = 0.0  # noqa: N815
    watchSeconds: float = 0.0  # noqa: N815
    imagePullSeconds: float = 0.0  # noqa: N815
    endpointSliceSeconds: float = 0.0  # noqa: N815
    lostNodes: tuple[str, ...] = ()  # noqa: N815


def changed(settings: Settings, patch: Any) -> Settings:
    """The settings with some replaced (pure). Raises BadRequest."""
    if not isinstance(patch, dict):
        raise BadRequest("faults are a JSON object")
    values: dict[str, Any] = {}
    for name, value in patch.items():
        old = getattr(settings, name, None)
        if name not in {field.name for field in dataclasses.fields(settings)}:
            raise BadRequest(f"there is no fault {name!r}")
        if isinstance(old, tuple):
            good = isinstance(value, list) and all(isinstance(item, str) for item in value)
            values[name] = tuple(value) if good else ()
        else:
            good = isinstance(value, bool) if isinstance(old, bool) else _is_amount(value)
            values[name] = value
        if not good:
            raise BadRequest(f"{name} cannot be {value!r}")
    return dataclasses.replace(settings, **values)


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


class NodePower(Protocol):
    """Who can take a node's power away. Both raise KeyError for a name that is none."""

    async def lose(self, name: str) -> None: ...

    async def bring_back(self, name: str) -> None: ...


class Faults:
    """Asked by the parts of the cluster for what should go wrong, through `settings`."""

    def __init__(self) -> None:
        self.settings = Settings()
        self._paused_until = 0.0
        self._watches: dict[int, web.Request] = {}  # by identity

    def image_pull_seconds(self) -> float:
        return self.settings.imagePullSeconds

    def endpoint_slice_seconds(self) -> float:
        return self.settings.endpointSliceSeconds

    def install(self, app: web.Application, *, power: NodePower) -> None:
        """Serve /faults, and let requests suffer. After the application's own middlewares, before it is served."""

        @web.middleware
        async def suffer(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path == _PATH or request.path.startswith(f"{_PATH}/"):
                return await self._serve(request, power=power)
            return await self._suffer(request, handler)

        async def delay(request: web.Request, response: web.StreamResponse) -> None:
            if id(request) in self._watches:
                response.write = self._late(response.write)  # type: ignore[method-assign, assignment]

        app.middlewares.append(suffer)
        app.on_response_prepare.append(delay)

    # --- What requests suffer -----------------------------------------------------------------------

    async def _suffer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        await self._pause_over()
        fails = random.random() < self.settings.errorRate  # noqa: S311 - guards nothing
        if fails and not self.settings.errorsAfter:
            raise self._error()
        if request.query.get("watch") in {"1", "true"}:
            return await self._watch(request, handler)
        response = await handler(request)
        if fails and not response.prepared:
            raise self._error()
        await self._pause_over()
        return response

    def _error(self) -> ApiError:
        return ServiceUnavailable("a fault that was asked for", code=self.settings.errorCode)

    async def _pause_over(self) -> None:
        left = self._paused_until - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)
            await self._pause_over()  # it may have been made longer

    async def _watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._watches[id(request)] = request
        timer = None
        if self.settings.watchSeconds:
            timer = asyncio.get_running_loop().call_later(self.settings.watchSeconds, _cut, request)
        try:
            return await handler(request)
        finally:
            del self._watches[id(request)]
            if timer is not None:
                timer.cancel()

    def _late(self, write: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Coroutine[Any, Any, None]]:
        async def write_late(data: Any) -> None:
            await asyncio.sleep(self.settings.watchDelaySeconds)
            await self._pause_over()
            await write(data)

        return write_late

    # --- The API ------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request, *, power: NodePower) -> web.StreamResponse:
        if MASTERS not in request[USER].groups:
            raise Forbidden(f'User "{request[USER].name}" may not ask for faults')
        if (request.method, request.path) == ("POST", f"{_PATH}/drop-watches"):
            return web.json_response({"dropped": self._drop_watches()})
        if (request.method, request.path) == ("POST", f"{_PATH}/compact"):
            registry = request.app[CONTEXT].registry
            registry.compact()
            return web.json_response({"revision": str(registry.told_revision)})
        if request.path != _PATH or request.method not in {"GET", "PATCH", "DELETE"}:
            raise MethodNotAllowed("faults are read by GET, set by PATCH and taken back by DELETE of /faults")
        if request.method == "PATCH":
            await self._set(changed(self.settings, _parsed(await request.text())), power=power)
        elif request.method == "DELETE":
            await self._set(Settings(), power=power)
        return web.json_response(dataclasses.asdict(self.settings))

    async def _set(self, wanted: Settings, *, power: NodePower) -> None:
        before, loop = self.settings, asyncio.get_running_loop()
        try:
            for name in set(wanted.lostNodes) - set(before.lostNodes):
                await power.lose(name)
            for name in set(before.lostNodes) - set(wanted.lostNodes):
                await power.bring_back(name)
        except KeyError as error:
            raise BadRequest(f"there is no node {error}") from None
        self.settings = dataclasses.replace(wanted, pauseSeconds=0.0)
        self._paused_until = loop.time() + wanted.pauseSeconds

    def _drop_watches(self) -> int:
        running = list(self._watches.values())
        for request in running:
            _cut(request)
        return len(running)


def _cut(request: web.Request) -> None:
    """As when a cable is pulled: no end of the stream, no goodbye."""
    if request.transport is not None:
        request.transport.abort()


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        parsed: Mapping[str, Any] = json.loads(text)
    except ValueError as error:
        raise BadRequest(f"faults are a JSON object: {error}") from error
    return parsed

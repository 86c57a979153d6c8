"""One request to a model on behalf of somebody who holds no key: the Test tab.

    {"namespace", "endpoint", "deployment"?: pin, "method", "path", "headers", "body": text | "body_base64"}
    -> {"status", "headers", "body" | "body_base64", "milliseconds", "deployment"}

It goes through HAProxy like any other, by a unix socket that only skips the key check: it waits in the same queue,
counts against the same concurrency and is measured in the same samples. `deployment` tells which one answered, or is
null when none did, because the router refused. Bodies are capped at 10 MB in both directions.
"""

import base64
import binascii
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from yarl import URL

from routerd import contract
from routerd.routes import RoutingTable

BODY_LIMIT: Final = 10 * 1024 * 1024
_TIMEOUT_SECONDS: Final = 600  # HAProxy gives up first: hold 120 s, queue 60 s, request 300 s
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"})
# Ours to set, or only true of one connection.
_NOT_PASSED: Final = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer"),
        *("expect", "authorization", contract.PIN_HEADER),
    }
)


class InvokeError(Exception):
    """The call was not made, or its answer cannot be given back; `status` is what the admin API answers."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Call:
    """A checked call: what HAProxy is sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def read_call(document: Any, *, table: RoutingTable | None) -> Call:
    """The call a document asks for. Raises InvokeError (400, 404, 413)."""
    if not isinstance(document, dict):
        raise InvokeError("The body must be a JSON object.", status=400)
    namespace, name = _text(document, "namespace"), _text(document, "endpoint")
    endpoint = table.by_key.get(f"{namespace}/{name}") if table else None
    if endpoint is None or not endpoint.routed:
        raise InvokeError(f"No endpoint {namespace}/{name} is served here.", status=404)
    method = _text(document, "method", default="POST").upper()
    if method not in _METHODS:
        raise InvokeError(f"method {method!r} is not known.", status=400)
    headers = _headers(document.get("headers") or {})
    if pin := _text(document, "deployment", default=""):
        headers[contract.PIN_HEADER] = pin
    path = _path(_text(document, "path", default="/score"))
    return Call(
        method=method,
        path=f"{contract.ENDPOINT_PATH}{name}{path}",
        headers=headers,
        body=_body(document),
    )


async def make_call(call: Call, *, socket: Path) -> dict[str, Any]:
    """Send the call to HAProxy's internal socket; the answer. Raises InvokeError (502, 504)."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    started = time.perf_counter()
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(socket)),
                timeout=timeout,
                auto_decompress=False,
                skip_auto_headers=("accept-encoding", "content-type", "user-agent"),
            ) as session,
            session.request(
                call.method,
                URL(f"http://routerd{call.path}", encoded=True),
                headers=call.headers,
                data=io.BytesIO(call.body) if call.body else None,
                allow_redirects=False,
            ) as answer,
        ):
            body = await _read(answer)
            return _describe(answer, body=body, milliseconds=1000 * (time.perf_counter() - started))
    except TimeoutError as error:
        raise InvokeError("HAProxy did not answer in time.", status=504) from error
    except aiohttp.ClientError as error:
        raise InvokeError(f"HAProxy could not be asked: {error}", status=502) from error


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = await answer.content.read(BODY_LIMIT + 1)
    while len(body) <= BODY_LIMIT and (more := await answer.content.read(BODY_LIMIT + 1 - len(body))):
        body += more
    if len(body) > BODY_LIMIT:
        raise InvokeError("The model's answer is larger than 10 MB: call the endpoint itself.", status=502)
    return body


def _describe(answer: aiohttp.ClientResponse, *, body: bytes, milliseconds: float) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    described = {
        "status": answer.status,
        "headers": headers,
        "milliseconds": round(milliseconds, 1),
        "deployment": headers.get(contract.PIN_HEADER),
    }
    try:
        return described | {"body": body.decode()}
    except UnicodeDecodeError:
        return described | {"body_base64": base64.b64encode(body).decode()}


def _text(document: Mapping[str, Any], name: str, *, default: str | None = None) -> str:
    value = document.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise InvokeError(f"{name} must be a text.", status=400)
    return value


def _path(path: str) -> str:
    """The path below the endpoint, as it is sent: nothing in it may lead elsewhere or end the request line."""
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise InvokeError("path must start with / and hold only characters a URL may hold.", status=400)
    steps = path.partition("?")[0].lower().replace("%2e", ".").split("/")
    if "." in steps or ".." in steps:
        raise InvokeError("path must not hold dot segments.", status=400)
    return path


def _headers(raw: Any) -> dict[str, str]:
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise InvokeError("headers must be an object of texts.", status=400)
    for name, value in raw.items():
        if not name or not all(c.isalnum() or c in "-_" for c in name) or not name.isascii():
            raise InvokeError(f"header name {name!r} is not allowed.", status=400)
        if any(c in value for c in "\r\n\0"):
            raise InvokeError(f"header {name} holds a line break.", status=400)
    return {name.lower(): value for name, value in raw.items() if name.lower() not in _NOT_PASSED}


def _body(document: Mapping[str, Any]) -> bytes:
    encoded = document.get("body_base64")
    try:
        body = base64.b64decode(encoded, validate=True) if encoded else _text(document, "body", default="").encode()
    except (binascii.Error, TypeError, ValueError) as error:
        raise InvokeError(f"body_base64 is not base64: {error}", status=400) from error
    if len(body) > BODY_LIMIT:
        raise InvokeError("The body is larger than 10 MB: call the endpoint itself.", status=413)
    return body

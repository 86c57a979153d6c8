"""Lists, whole or in pages: every page shows the objects as they were when the first one was read.

    ?limit=100                  items 1 to 100, metadata.continue = a token: the revision, and the last object's place
    ?limit=100&continue=TOKEN   items 101 to 200, of that revision
    ...                         the last page has no token

A token older than what is remembered is 410; its Status carries another one, by which the rest can be read as things
are by now. `resourceVersionMatch=Exact` reads an older revision in the same way.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from clusters.embedded.causes import Cause, forbidden, unsupported
from clusters.embedded.errors import ApiError, BadRequest, Gone
from clusters.embedded.journal import Stored
from clusters.embedded.registry import Registry
from clusters.embedded.resources import Obj
from clusters.embedded.server.options import invalid_options
from clusters.embedded.server.request import Asked, number

_MATCHES: Final = ("Exact", "NotOlderThan")
_TOO_OLD: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True)
class Token:
    """Where the next page begins."""

    revision: int | None  # None: as things are now
    after: tuple[str, str] = ("", "")  # namespace and name of the last object that was given

    @classmethod
    def parse(cls, text: str) -> "Token":
        """Raises BadRequest."""
        try:
            revision, namespace, name = json.loads(base64.urlsafe_b64decode(text))
        except ValueError as error:
            raise BadRequest(f"invalid continue token: continue key is not valid: {error}") from error
        if not (isinstance(revision, int | None) and isinstance(namespace, str) and isinstance(name, str)):
            raise BadRequest("invalid continue token: continue key is not valid: it was not given by this server")
        return cls(revision, (namespace, name))

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(json.dumps([self.revision, *self.after]).encode()).decode()


def read_page(
    request: web.Request, asked: Asked, *, registry: Registry, matches: Callable[[Stored], bool]
) -> tuple[list[Stored], Obj]:
    """The objects of one page, and the list's metadata. Raises BadRequest, Invalid, Gone, ApiError."""
    token, limit = _token(request, registry), number(request, "limit") or 0
    revision = registry.revision if token.revision is None else token.revision
    try:
        stored = registry.all_stored(asked.resource, asked.namespace, revision=revision)
        found = [each for each in stored if _place(each) > token.after and matches(each)]
    except Gone as error:
        raise _too_old(token) from error
    metadata: Obj = {"resourceVersion": str(revision)}
    if limit <= 0 or len(found) <= limit:
        return found, metadata
    page = found[:limit]
    metadata["continue"] = str(Token(revision, _place(page[-1])))
    if not (request.query.get("labelSelector") or request.query.get("fieldSelector")):
        metadata["remainingItemCount"] = len(found) - limit
    return page, metadata


def _place(stored: Stored) -> tuple[str, str]:
    metadata = stored.obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _token(request: web.Request, registry: Registry) -> Token:
    """What `continue` says, or where a list begins that `resourceVersion` asks for."""
    revision, text = number(request, "resourceVersion") or 0, request.query.get("continue")
    if cause := _wrong_match(request):
        raise invalid_options("ListOptions", cause)
    if text:
        if revision:
            raise BadRequest("specifying resource version is not allowed when using continue")
        return Token.parse(text)
    if revision > registry.revision:
        message = f"Too large resource version: {revision}, current: {registry.revision}"
        raise ApiError(message, code=504, reason="Timeout")
    return Token(revision if request.query.get("resourceVersionMatch") == "Exact" else None)


def _wrong_match(request: web.Request) -> Cause | None:
    match, revision = request.query.get("resourceVersionMatch"), request.query.get("resourceVersion")
    field = "resourceVersionMatch"
    if not match:
        return None
    if request.query.get("continue"):
        return forbidden(field, "resourceVersionMatch is forbidden for continue")
    if not revision:
        return forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match not in _MATCHES:
        return unsupported(field, match, _MATCHES)
    if match == "Exact" and revision == "0":
        return forbidden(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    return None


def _too_old(token: Token) -> Gone:
    if token.after == Token(None).after:
        return Gone("The resourceVersion for the provided list is too old.")
    error = Gone(_TOO_OLD)
    error.rest = str(Token(None, token.after))
    return error

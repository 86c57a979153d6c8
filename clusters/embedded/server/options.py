"""What the query says about how to write: dry run, field validation, owner. Wrong options are 422, as objects are."""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from clusters.embedded.causes import Cause, forbidden, invalid, required, unsupported
from clusters.embedded.errors import ApiError, BadRequest, Invalid
from clusters.embedded.resources import Obj, Resource
from clusters.embedded.server.request import ASKED, WARNINGS, body_kind, flag

_KINDS: Final = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}
_MODES: Final = ("", "Ignore", "Strict", "Warn")


def invalid_options(kind: str, cause: Cause) -> Invalid:
    return Invalid.of(Resource("meta.k8s.io", "v1", "", kind), "", [cause])


def _refuse(request: web.Request, cause: Cause) -> Invalid:
    return invalid_options(_KINDS.get(request.method, "ListOptions"), cause)


def field_manager(request: web.Request) -> str:
    """Who owns the fields this request writes: named, or the first word of the User-Agent."""
    named = request.query.get("fieldManager")
    if named:
        return named
    return request.headers.get("User-Agent", "unknown").split("/")[0][:128] or "unknown"


def apply_manager(request: web.Request) -> str:
    """Who applies. Raises Invalid: an owner must have a name."""
    manager = request.query.get("fieldManager")
    if not manager:
        raise _refuse(request, required("fieldManager", "is required for apply patch"))
    return manager


def check_patch(request: web.Request) -> None:
    """Raises Invalid for an option that only an apply has."""
    if flag(request, "force"):
        raise _refuse(request, forbidden("force", "may not be specified for non-apply patch"))


def dry_run(request: web.Request) -> bool:
    """Raises Invalid."""
    values = request.query.getall("dryRun", [])
    if any(value != "All" for value in values):
        raise _refuse(request, unsupported("dryRun", values, ("All",)))
    return bool(values)


def field_validation(request: web.Request) -> str:
    """Strict, Warn or Ignore. Raises Invalid."""
    mode = request.query.get("fieldValidation", "")
    if mode not in _MODES:
        raise _refuse(request, unsupported("fieldValidation", mode, _MODES))
    return mode or "Warn"


def unknown_fields(request: web.Request) -> Callable[[list[str]], None]:
    """What to do with fields the schema does not know, by `fieldValidation`. Raises Invalid."""
    field_validation(request)

    def tell(paths: list[str]) -> None:
        tell_strict(request, [f'unknown field "{path}"' for path in paths])

    return tell


def tell_strict(request: web.Request, problems: list[str]) -> None:
    """What a strict reader does not take: refused, warned of, or let pass. Raises BadRequest, Invalid."""
    mode = field_validation(request)
    if mode == "Strict":
        message = "strict decoding error: " + ", ".join(problems)
        if request.method == "PATCH":
            raise Invalid.of(Resource("", "", "", ""), "", [invalid("patch", "", message)])
        raise BadRequest.of_body(body_kind(request[ASKED]), message)
    if mode == "Warn":
        request[WARNINGS].extend(problem for problem in problems if problem not in request[WARNINGS])


def tell_strict_yaml(request: web.Request, problems: list[str]) -> None:
    """`tell_strict` of what a reader of YAML found, in its words. Raises BadRequest, Invalid."""
    if field_validation(request) == "Strict":
        message = "yaml: unmarshal errors:\n" + "\n".join(f"  {problem}" for problem in problems)
        if request.method == "PATCH":
            raise BadRequest(f"error strict decoding YAML: error converting YAML to JSON: {message}")
        problems = [message]
    tell_strict(request, problems)


def undeclared_fields(resource: Resource, applied: Obj) -> Callable[[list[str]], None]:
    """What an apply does with fields the schema does not know: it refuses them, whatever `fieldValidation` says.

    Name and namespace are told as they were sent, before the path's are filled in.
    """
    metadata = applied.get("metadata") or {}
    place = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"

    def refuse(paths: list[str]) -> None:
        told = [f".{path}: field not declared in schema" for path in paths]
        text = told[0] if len(told) == 1 else "errors:\n" + "\n".join(f"  {each}" for each in told)
        kind = f"{resource.group}/{resource.version}, Kind={resource.kind}"
        message = f"failed to create typed patch object ({place}; {kind}): {text}"
        raise ApiError(message, code=500, reason="")

    return refuse

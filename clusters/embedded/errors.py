# ruff: noqa: N818 -- these are named as Kubernetes names its reasons
"""What the API answers when it refuses: Kubernetes' Status objects as exceptions.

One class per reason a client can act on; whoever raises says what was asked and why it cannot be.
`to_status()` is what goes over the wire, with the wording clients know from a real API server.
"""

from typing import Any

from clusters.embedded.resources import Resource


class ApiError(Exception):
    """A refusal. `code` is the HTTP status, `reason` Kubernetes' one-word reason."""

    code = 500
    reason = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        code: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        if code is not None:
            self.code = code
        if reason is not None:
            self.reason = reason

    def to_status(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        if not self.reason:  # a real API server gives none to what it did not expect
            del status["reason"]
        return status


def about(resource: Resource, name: str) -> dict[str, Any]:
    """The `details` of a Status that is about one object."""
    details: dict[str, Any] = {"name": name, "kind": resource.plural}
    return details | ({"group": resource.group} if resource.group else {})


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"

    @classmethod
    def of_body(cls, resource: Resource, why: str) -> "BadRequest":
        """What was sent cannot be read as this kind."""
        return cls(f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}')


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"

    @classmethod
    def of(cls, resource: Resource, name: str) -> "NotFound":
        return cls(f'{resource.qualified} "{name}" not found', details=about(resource, name))


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"

    @classmethod
    def of(cls, resource: Resource, name: str) -> "AlreadyExists":
        return cls(f'{resource.qualified} "{name}" already exists', details=about(resource, name))


class Conflict(ApiError):
    code, reason = 409, "Conflict"

    @classmethod
    def of(cls, resource: Resource, name: str, *, why: str = "") -> "Conflict":
        why = why or ("the object has been modified; please apply your changes to the latest version and try again")
        message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
        return cls(message, details=about(resource, name))

    @classmethod
    def of_kind(cls, resource: Resource, name: str, *, why: str) -> "Conflict":
        """As a deletion's preconditions name it: by the kind, not by the plural."""
        kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
        message = f'Operation cannot be fulfilled on {kind} "{name}": {why}'
        return cls(message, details={**about(resource, name), "kind": resource.kind})


class Gone(ApiError):
    """The resourceVersion asked for is older than what is remembered: list again.

    `rest` is a token by which a list that came in pages can be read to its end, as things are by now.
    """

    code, reason = 410, "Expired"
    rest = ""

    def to_status(self) -> dict[str, Any]:
        status = super().to_status()
        return status | ({"metadata": {"continue": self.rest}} if self.rest else {})


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class NotImplementedHere(ApiError):
    """The embedded cluster does not have this, and says so."""

    code, reason = 501, "NotImplemented"


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class Invalid(ApiError):
    """422: the object breaks rules. `causes` are `{"reason", "message", "field"}`, one per rule."""

    code, reason = 422, "Invalid"

    @classmethod
    def of(cls, resource: Resource, name: str, causes: list[dict[str, str]]) -> "Invalid":
        texts = [f"{cause['field']}: {cause['message']}" for cause in causes]
        text = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
        kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
        details = {"name": name, "group": resource.group, "kind": resource.kind, "causes": causes}
        told = {key: value for key, value in details.items() if value}
        return cls(f'{kind} "{name}" is invalid: {text}', details=told)

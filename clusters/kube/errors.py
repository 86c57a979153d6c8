"""What can go wrong on the way to an API server, in words that name the object, the cause and the next step.

    KubeError
      Unreachable     no connection: resolver, route, refused, time-out, TLS
      Unauthorized    401: the credentials are not accepted
      Forbidden       403: accepted, but without this right
      NotFound        404
      Conflict        409: somebody else's change, or the object exists
      Gone            410: a resourceVersion is too old; list again
      Invalid         400, 422: the object is refused; `fields` says where
      TooMany         429: the server asks to wait
      ServerFailed    5xx, or an answer nobody can read

No Django here: the studio turns these into pages and causes of operations.
"""

# ruff: noqa: N818  the names are the sentences: "raise NotFound"

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FieldMessage:
    """One refused field of an object: `spec.replicas`, "must be greater than or equal to 0"."""

    path: str
    text: str


class KubeError(Exception):
    """`subject` is what was asked for, `cause` why it failed, `next_step` what a person can do."""

    next_step = "Try again; if it stays, look at the API server's own log."

    def __init__(self, subject: str, *, cause: str, status: int = 0, reason: str = "", next_step: str = "") -> None:
        self.subject = subject
        self.cause = cause
        self.status = status
        self.reason = reason
        self.next_step = next_step or type(self).next_step
        super().__init__(f"{subject}: {cause.rstrip('.')}. {self.next_step}")


class Unreachable(KubeError):
    next_step = "Check that this machine reaches the address, then check the cluster again."


class Unauthorized(KubeError):
    next_step = "Attach the cluster again with credentials that are still valid."


class Forbidden(KubeError):
    next_step = "Give the account of the attached kubeconfig this right."


class NotFound(KubeError):
    next_step = "It may have been deleted meanwhile; look at the list again."


class Conflict(KubeError):
    next_step = "Look at the object as it is now and try again."


class Gone(KubeError):
    next_step = "List again from the start."


class TooMany(KubeError):
    next_step = "Wait some seconds and try again."


class ServerFailed(KubeError):
    pass


class Invalid(KubeError):
    next_step = "Correct what is named and try again."

    def __init__(self, subject: str, *, cause: str, fields: tuple[FieldMessage, ...] = (), **more: Any) -> None:
        super().__init__(subject, cause=cause, **more)
        self.fields = fields


_BY_STATUS: dict[int, type[KubeError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: ServerFailed,
    409: Conflict,
    410: Gone,
    429: TooMany,
}


def error_of(status: int, *, body: bytes, subject: str) -> KubeError:
    """The error an answer other than 2xx stands for; `body` is a `Status` object when the server is a kind one."""
    told = read_status(body)
    cause = str(told.get("message") or "") or _plain(body) or f"the API server answered {status}"
    reason = str(told.get("reason") or "")
    if status in (400, 422):
        return Invalid(subject, cause=cause, fields=_fields(told), status=status, reason=reason)
    return _BY_STATUS.get(status, ServerFailed)(subject, cause=cause, status=status, reason=reason)


def read_status(body: bytes) -> dict[str, Any]:
    """The Status object in `body`, or {} when it holds something else."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("kind") == "Status" else {}


def _fields(status: dict[str, Any]) -> tuple[FieldMessage, ...]:
    causes = (status.get("details") or {}).get("causes") or []
    return tuple(FieldMessage(path=str(c.get("field") or ""), text=str(c.get("message") or "")) for c in causes)


def _plain(body: bytes) -> str:
    text = body[:300].decode(errors="replace").strip()
    return "" if text.startswith("<") else text

"""What a test request got: status in words, the headers that matter, the body to read. Pure."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from deployments.services import InvokeResult
from routerd.contract import MODEL_STATUS_HEADER, REASON_HEADER

SHOWN_BYTES: Final = 64 * 1024
_NOTABLE: Final = (
    "content-type",
    "x-request-id",
    "x-ms-client-request-id",
    "x-ms-run-function-failed",
    MODEL_STATUS_HEADER,
    REASON_HEADER,
    "retry-after",
)
# What the router means by a status that did not come from the model.
_ROUTER_SAYS: Final = {
    401: "The router did not accept the key.",
    404: "There is no such deployment, or none has traffic. Move traffic to one, or choose one here.",
    408: "The router did not get the whole request in time.",
    413: "The request is larger than 100 MB.",
    429: "Turned away: the queue is full, or the request waited longer than its longest wait.",
    502: "The model's process broke off while it answered. Its log says why.",
    503: "No replica is ready to answer.",
    504: "The model did not begin to answer within the time-out of its deployment.",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the Test tab shows. `status` 0: the request was not sent."""

    status: int
    phrase: str
    shape: str
    sentence: str
    milliseconds: float | None
    headers: tuple[tuple[str, str], ...]
    body: str
    size: int
    shown: int

    @property
    def cut(self) -> bool:
        """Whether the body goes on."""
        return self.size > self.shown


def read_answer(result: InvokeResult) -> Answer:
    """The answer of the model or of the router."""
    headers = {name.lower(): value for name, value in result.headers.items()}
    notable: list[tuple[str, str]] = [(name, headers[name]) for name in _NOTABLE if name in headers]
    if result.deployment:
        notable.insert(0, ("answered by", result.deployment))
    return Answer(
        status=result.status,
        phrase=_phrase(result.status),
        shape="ok" if result.status < 400 else "warn" if result.status < 500 else "fail",
        sentence=_sentence(result, headers),
        milliseconds=result.milliseconds,
        headers=tuple(notable),
        body=_readable(result.text[:SHOWN_BYTES], whole=len(result.body) <= SHOWN_BYTES),
        size=len(result.body),
        shown=min(len(result.body), SHOWN_BYTES),
    )


def failed_answer(text: str) -> Answer:
    """The request could not be made at all."""
    return Answer(0, "", "fail", text, None, (), "", 0, 0)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _sentence(result: InvokeResult, headers: dict[str, str]) -> str:
    if result.status < 400:
        return ""
    if headers.get("x-ms-run-function-failed", "").lower() == "true":
        return "run() raised an exception. The log of the replica has its traceback."
    if MODEL_STATUS_HEADER in headers or result.status not in _ROUTER_SAYS:
        return f"The model itself answered {result.status}."
    return _ROUTER_SAYS[result.status]


def _readable(text: str, *, whole: bool) -> str:
    """JSON with line breaks; anything else as it came."""
    if not whole:
        return text
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text

"""The answers the router gives itself: one reason, one status, one sentence, one next step.

HAProxy sends them as `application/problem+json` with the reason in a header of its own. Some are fixed
strings in the configuration; where one status has several causes (HAProxy's 503), Lua tells the reason at
run time and HAProxy looks its text up in `problems.map`.
"""

import json
from dataclasses import dataclass
from typing import Final

CONTENT_TYPE: Final = "application/problem+json"


@dataclass(frozen=True)
class RouterAnswer:
    """One way in which the router refuses or gives up."""

    code: str
    status: int
    title: str
    detail: str
    hint: str

    def body(self) -> str:
        """The problem document, on one line and without single quotes (HAProxy's quoting)."""
        document = {
            "type": f"urn:slipway:router:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "hint": self.hint,
        }
        return json.dumps(document)


_ALL: Final = (
    RouterAnswer(
        "bad_request",
        400,
        "Bad request",
        "The request is not valid HTTP, or its headers are too large.",
        "Send a well-formed HTTP/1.1 or HTTP/2 request.",
    ),
    RouterAnswer(
        "bad_path",
        400,
        "Path refused",
        "The path holds dot segments, encoded slashes or backslashes.",
        "Call the path as the endpoint page shows it.",
    ),
    RouterAnswer(
        "unauthorized",
        401,
        "Key missing or wrong",
        "The endpoint asks for a key or a token, and the request carried none that is valid.",
        "Send the header Authorization: Bearer KEY with one of the endpoint keys, or with a token.",
    ),
    RouterAnswer(
        "key_expired",
        401,
        "Key expired",
        "The key was valid until its end, which has passed.",
        "Ask the owner of the endpoint for a new key.",
    ),
    RouterAnswer(
        "token_invalid",
        401,
        "Token refused",
        "The token is not signed by a key this endpoint trusts, or was issued by or for somebody else.",
        "Ask the issuer for a token for this endpoint; kid, iss and aud must be those the endpoint names.",
    ),
    RouterAnswer(
        "token_expired",
        401,
        "Token expired",
        "The token was valid until its end, which has passed.",
        "Ask the issuer for a new token.",
    ),
    RouterAnswer(
        "token_not_yet",
        401,
        "Token not valid yet",
        "The token says that it is valid from a time that has not come.",
        "Wait, or compare the clocks of the issuer and the router.",
    ),
    RouterAnswer(
        "tls_required",
        403,
        "TLS required",
        "This router answers over TLS only.",
        "Call the same path with https.",
    ),
    RouterAnswer(
        "no_endpoint",
        404,
        "No such endpoint",
        "No endpoint of this name is served here.",
        "Call /api/v1/endpoint/NAME/score with the name of an endpoint that is ready.",
    ),
    RouterAnswer(
        "no_deployment",
        404,
        "No such deployment",
        "The deployment named in the azureml-model-deployment header does not exist.",
        "Leave the header out, or name a deployment of this endpoint.",
    ),
    RouterAnswer(
        "no_traffic",
        404,
        "No deployment takes traffic",
        "No deployment of this endpoint has a weight above zero.",
        "Give a deployment traffic, or pin one with the azureml-model-deployment header.",
    ),
    RouterAnswer(
        "request_timeout",
        408,
        "Request not received in time",
        "The request did not arrive completely in time.",
        "Send the whole request without long pauses.",
    ),
    RouterAnswer(
        "payload_too_large",
        413,
        "Payload too large",
        "The body is larger than this router accepts.",
        "Send less in one request, or pass a reference to the data.",
    ),
    RouterAnswer(
        "queue_full",
        429,
        "Queue full",
        "Every replica is busy and as many requests wait as are allowed to.",
        "Come back after the seconds in Retry-After, or allow more replicas or a longer queue.",
    ),
    RouterAnswer(
        "queue_timeout",
        429,
        "Waited too long",
        "No replica became free within the time a request may wait.",
        "Come back after the seconds in Retry-After, or allow more replicas or a longer wait.",
    ),
    RouterAnswer(
        "model_broke_off",
        502,
        "The model broke off",
        "The model process closed the connection before it answered.",
        "Look at the logs of the deployment: its process probably crashed.",
    ),
    RouterAnswer(
        "router_broke_off",
        502,
        "A router broke off",
        "The router in whose line the request stood ended before it answered.",
        "Send the request again if it may be done twice: a model may have had it.",
    ),
    RouterAnswer(
        "no_replica",
        503,
        "No replica is ready",
        "The deployment has no ready replica.",
        "Look at the status of the deployment, and try again when a replica is ready.",
    ),
    RouterAnswer(
        "replica_unreachable",
        503,
        "No replica can be reached",
        "The replicas of the deployment did not accept a connection; nothing was sent to a model.",
        "Try again; look at the status of the deployment when it stays so.",
    ),
    RouterAnswer(
        "model_timeout",
        504,
        "The model did not answer in time",
        "The model did not answer within the request timeout of the deployment.",
        "Raise request_timeout_ms, or make the request smaller.",
    ),
)

ANSWERS: Final = {answer.code: answer for answer in _ALL}


def problems_map() -> dict[str, str]:
    """Reason -> problem document, for HAProxy's map of that name."""
    return {code: answer.body() for code, answer in ANSWERS.items()}

"""The Consume tab: how to call an endpoint from elsewhere, and its keys."""

import shlex
from dataclasses import dataclass
from datetime import datetime

from deployments.models import AuthMode, Endpoint
from deployments.regions.endpoint import scoring_uri
from deployments.regions.sample import compact, sample_body
from routerd.contract import PIN_HEADER

KEY_VARIABLE = "SLIPWAY_KEY"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key without its value; `shown` is the value when somebody asked for it."""

    name: str
    title: str
    hint: str  # first and last characters
    made_at: datetime
    last_used_at: datetime | None
    shown: str


@dataclass(frozen=True, slots=True)
class Consume:
    """What a caller needs."""

    uri: str
    by_key: bool
    keys: tuple[KeyRow, ...]
    shown: str  # the value put into the snippets, "" while no key is shown
    curl: str
    python: str
    pin_header: str
    deployments: tuple[str, ...]


def consume_region(endpoint: Endpoint, *, shown: str = "") -> Consume:
    """The tab; `shown` names the key whose value somebody asked to see. Three queries."""
    by_key = endpoint.auth_mode == AuthMode.KEY
    rows = tuple(
        KeyRow(
            name=key.name,
            title=key.name.capitalize(),
            hint=f"{key.value[:4]}{'•' * 16}{key.value[-3:]}",
            made_at=key.created_at,
            last_used_at=key.last_used_at,
            shown=key.value if key.name == shown else "",
        )
        for key in (endpoint.keys.all() if by_key else ())
    )
    value = next((row.shown for row in rows if row.shown), "")
    uri, body = scoring_uri(endpoint), compact(sample_body(endpoint))
    return Consume(
        uri=uri,
        by_key=by_key,
        keys=rows,
        shown=value,
        curl=curl_command(uri, body=body, by_key=by_key, key=value),
        python=python_program(uri, body=body, by_key=by_key, key=value),
        pin_header=PIN_HEADER,
        deployments=tuple(endpoint.deployments.order_by("name").values_list("name", flat=True)),
    )


def curl_command(uri: str, *, body: str, by_key: bool, key: str) -> str:
    """A command for a POSIX shell. Without a shown key it reads the variable SLIPWAY_KEY."""
    lines = [f"{KEY_VARIABLE}={shlex.quote(key)}"] if by_key and key else []
    sent = [f'  -H "Authorization: Bearer ${KEY_VARIABLE}"'] if by_key else []
    sent += ["  -H 'Content-Type: application/json'", f"  -d {shlex.quote(body)}"]
    return "\n".join([*lines, " \\\n".join([f"curl -sS {shlex.quote(uri)}", *sent])])


def python_program(uri: str, *, body: str, by_key: bool, key: str) -> str:
    """A program that needs nothing but Python. Without a shown key it reads the variable SLIPWAY_KEY."""
    reads = by_key and not key
    value = repr(key) if key else f'os.environ["{KEY_VARIABLE}"]'
    headers = ['    "Content-Type": "application/json",']
    if by_key:
        headers.insert(0, f'    "Authorization": "Bearer " + {value},')
    return "\n".join(
        [
            *(["import os"] if reads else []),
            "import urllib.request",
            "",
            f"body = {body!r}",
            "headers = {",
            *headers,
            "}",
            f"request = urllib.request.Request({uri!r}, body.encode(), headers)",
            "with urllib.request.urlopen(request, timeout=60) as answer:",
            "    print(answer.read().decode())",
        ]
    )

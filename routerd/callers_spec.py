"""Reads what an OnlineEndpoint offers its callers besides the path: hosts, CORS, stickiness, priorities. Pure.

Everything here ends up in HAProxy's maps and commands, so each text is checked against the little it may hold.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from routerd.routes import HOST_NOT_ALLOWED, INVALID_SPEC, Cors, Problem, Sticky

AllowedHosts = Mapping[str, Iterable[str]]  # namespace -> host names, or *.domain for all directly below one

_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_ORIGIN: Final = re.compile(r"https?://([a-z0-9.-]{1,253}|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
_HEADER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST_HOST: Final = 253
_MOST_ORIGINS: Final = 100
_DEFAULT_MAX_AGE: Final = 600


def read_hosts(raw: Any, *, namespace: str, allowed: AllowedHosts, problems: list[Problem]) -> tuple[str, ...]:
    """`spec.hosts` in lower case, each once, of those the operator allowed this namespace."""
    hosts: list[str] = []
    for item in _texts(raw):
        host = item.lower().rstrip(".")
        if not _HOST.fullmatch(host) or len(host) > _LONGEST_HOST:
            problems.append(Problem("Hosts", INVALID_SPEC, f"spec.hosts: {item!r} is not a host name."))
        elif not any(_covers(pattern, host) for pattern in allowed.get(namespace, ())):
            message = f"The operator has not allowed the host {host} for {namespace}: ask for it, or leave it out."
            problems.append(Problem("Hosts", HOST_NOT_ALLOWED, message))
        elif host not in hosts:
            hosts.append(host)
    return tuple(hosts)


def _covers(pattern: str, host: str) -> bool:
    """`*.example.com` covers a.example.com, and neither example.com nor b.a.example.com."""
    return fnmatchcase(host, pattern) and host.count(".") == pattern.count(".")


def read_allowed_hosts(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """`NAMESPACE HOST` a line (`#` starts a comment) as hosts by namespace; lines of another shape allow nothing."""
    found: dict[str, tuple[str, ...]] = {}
    for line in lines:
        words = line.partition("#")[0].lower().split()
        if len(words) == 2 and _HOST.fullmatch(words[1].removeprefix("*.")):
            found[words[0]] = (*found.get(words[0], ()), words[1])
    return found


def read_cors(raw: Any, *, problems: list[Problem]) -> Cors | None:
    """`spec.cors`; None where no page may call."""
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        problems.append(_invalid(f"spec.cors is {raw!r}: allowedOrigins is needed."))
        return None
    origins = []
    for item in _texts(raw.get("allowedOrigins")):
        origin = item.lower().rstrip("/")
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            problems.append(
                _invalid(f"spec.cors.allowedOrigins: {item!r} is no origin such as https://app.example.com.")
            )
        else:
            origins.append(origin)
    if len(origins) > _MOST_ORIGINS:
        problems.append(_invalid(f"spec.cors.allowedOrigins names more than {_MOST_ORIGINS} origins."))
        return None
    age = raw.get("maxAgeSeconds", _DEFAULT_MAX_AGE)
    if isinstance(age, bool) or not isinstance(age, int) or not 0 <= age <= 86_400:
        problems.append(_invalid(f"spec.cors.maxAgeSeconds is {age!r}: 0 to 86400 are allowed."))
        age = _DEFAULT_MAX_AGE
    return Cors(origins=tuple(dict.fromkeys(origins)), max_age_seconds=age) if origins else None


def read_sticky(raw: Any, *, problems: list[Problem]) -> Sticky | None:
    """`spec.sticky`: by which header or cookie; None where every request is decided anew."""
    if not raw:
        return None
    named = [(source, raw[source]) for source in ("header", "cookie") if raw.get(source)] if _is_map(raw) else []
    if len(named) != 1 or not _HEADER.fullmatch(str(named[0][1])):
        problems.append(_invalid(f"spec.sticky is {raw!r}: name one header or one cookie."))
        return None
    source, name = named[0]
    return Sticky(source="header" if source == "header" else "cookie", name=str(name))


def _is_map(raw: Any) -> bool:
    return isinstance(raw, Mapping)


def _texts(raw: Any) -> list[str]:
    """A list's items as texts; anything else that is there is one item."""
    if raw is None:
        return []
    return [str(item) for item in raw] if isinstance(raw, list) else [str(raw)]


def _invalid(message: str) -> Problem:
    return Problem(type="Ready", reason=INVALID_SPEC, message=message)

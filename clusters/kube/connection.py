"""What it takes to reach an API server, read from a kubeconfig somebody else wrote.

A kubeconfig is a program in disguise: `users[].user.exec` names a command, `auth-provider` another, `tokenFile` and
`certificate-authority` name files of whatever machine loads it, `proxy-url` sends the credentials elsewhere. Ordinary
loaders do all of that. So an uploaded file never reaches one: it is parsed as plain text without aliases or tags, one
context is picked, and only the fields that carry the connection in themselves are taken. Every other field is refused
by name, with what to do instead; nothing is silently ignored.
"""

import base64
import binascii
import json
import ssl
from dataclasses import asdict, dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import yaml
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

LARGEST_KUBECONFIG = 256 * 1024  # bytes


class KubeconfigError(Exception):
    """A kubeconfig that Slipway does not take. `field` names the place, `text` says why and what to do."""

    def __init__(self, where: str, text: str) -> None:
        self.field = where
        self.text = text
        super().__init__(f"{where}: {text}" if where else text)


@dataclass(frozen=True)
class Connection:
    """Where an API server is and how to sign in; certificates and keys are PEM texts, empty when there are none."""

    server: str
    ca_data: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    client_certificate: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)
    tls_server_name: str = ""
    insecure: bool = False

    def to_json(self) -> str:
        """As kept, encrypted, in Cluster.connection."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Contexts:
    """The contexts a kubeconfig offers; `current` is "" when it names none."""

    names: tuple[str, ...]
    current: str


def read_contexts(text: str) -> Contexts:
    """The names to choose from. Raises KubeconfigError when the text is not a kubeconfig."""
    config = _load(text)
    names = tuple(name for name, _ in _entries(config, "contexts", "context"))
    current = str(config.get("current-context") or "")
    return Contexts(names=names, current=current if current in names else "")


def parse_kubeconfig(text: str, *, context: str | None = None, allow_insecure: bool = False) -> Connection:
    """The Connection of one context (the current one when none is named). Raises KubeconfigError."""
    config = _load(text)
    chosen = _pick_context(config, context)
    cluster = _entry(config, "clusters", "cluster", str(chosen.get("cluster") or ""))
    user = _entry(config, "users", "user", str(chosen.get("user") or ""))
    return _connection(
        cluster=cluster,
        cluster_at=f"clusters[{chosen.get('cluster')}].cluster",
        user=user,
        user_at=f"users[{chosen.get('user')}].user",
        allow_insecure=allow_insecure,
    )


# --- The text ---------------------------------------------------------------------------------


class _PlainLoader(yaml.BaseLoader):
    """YAML as strings, lists and maps only: no tags, no numbers, no aliases."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise KubeconfigError("", "The file uses YAML aliases (*name). Write the values out where they are used.")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def _load(text: str) -> dict[str, Any]:
    if not text.strip():
        raise KubeconfigError("", "There is nothing here. Paste the output of: kubectl config view --minify --raw")
    if len(text.encode(errors="replace")) > LARGEST_KUBECONFIG:
        raise KubeconfigError(
            "",
            f"The file is larger than {LARGEST_KUBECONFIG // 1024} KiB. Take one context only: "
            "kubectl config view --minify --raw",
        )
    try:
        config = yaml.load(text, Loader=_PlainLoader)  # noqa: S506  BaseLoader makes strings, lists and maps only
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise KubeconfigError("", f"This is not YAML{_where(error)}.") from error
    if not isinstance(config, dict) or not isinstance(config.get("clusters"), list):
        raise KubeconfigError("", 'This is not a kubeconfig: it has no list "clusters".')
    return config


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f": line {mark.line + 1}, column {mark.column + 1}" if mark else ""


# --- Entries ----------------------------------------------------------------------------------


def _entries(config: dict[str, Any], plural: str, singular: str) -> list[tuple[str, dict[str, Any]]]:
    listed = config.get(plural)
    rows = listed if isinstance(listed, list) else []
    named = [row for row in rows if isinstance(row, dict) and isinstance(row.get("name"), str)]
    return [(row["name"], _map(row.get(singular))) for row in named]


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _entry(config: dict[str, Any], plural: str, singular: str, name: str) -> dict[str, Any]:
    found = dict(_entries(config, plural, singular)).get(name)
    if found is None:
        raise KubeconfigError(plural, f"The context names {singular} {name or '(none)'}, which is not in {plural}.")
    return found


def _pick_context(config: dict[str, Any], wanted: str | None) -> dict[str, Any]:
    contexts = dict(_entries(config, "contexts", "context"))
    name = wanted or str(config.get("current-context") or "")
    if not name and len(contexts) == 1:
        return next(iter(contexts.values()))
    if not name:
        raise KubeconfigError("current-context", "The file names no current context. Choose one of its contexts.")
    if name not in contexts:
        offered = ", ".join(contexts) or "none"
        raise KubeconfigError("current-context", f"There is no context {name}. The file has: {offered}.")
    return contexts[name]


# --- Fields -----------------------------------------------------------------------------------

_ACCOUNT_INSTEAD = (
    "Give Slipway a service account instead: kubectl create serviceaccount slipway-studio -n kube-system, bind it to "
    "cluster-admin, and put the output of kubectl create token slipway-studio -n kube-system --duration 8760h as its "
    "token."
)
_INLINE_INSTEAD = "Put the content into the file itself: kubectl config view --minify --raw --flatten"
_REFUSED = {
    "exec": f"Slipway never runs a command out of a kubeconfig. {_ACCOUNT_INSTEAD}",
    "auth-provider": f"Slipway never runs a login plug-in out of a kubeconfig. {_ACCOUNT_INSTEAD}",
    "tokenFile": "Slipway never reads a file a kubeconfig names. Put the token itself under token.",
    "certificate-authority": f"Slipway never reads a file a kubeconfig names. {_INLINE_INSTEAD}",
    "client-certificate": f"Slipway never reads a file a kubeconfig names. {_INLINE_INSTEAD}",
    "client-key": f"Slipway never reads a file a kubeconfig names. {_INLINE_INSTEAD}",
    "proxy-url": "Slipway does not send credentials through a proxy a kubeconfig names. Remove it; the proxy of the "
    "studio's own machine (HTTPS_PROXY) is used where it is set.",
    "username": f"Kubernetes no longer takes names and passwords. {_ACCOUNT_INSTEAD}",
    "password": f"Kubernetes no longer takes names and passwords. {_ACCOUNT_INSTEAD}",
    "as": "Slipway does not act as somebody else. Use the credentials of the account itself.",
}
_CLUSTER_FIELDS = {"server", "certificate-authority-data", "tls-server-name", "insecure-skip-tls-verify"}
_USER_FIELDS = {"token", "client-certificate-data", "client-key-data"}
_WITHOUT_EFFECT = {"extensions", "disable-compression"}


def _refuse_fields(entry: dict[str, Any], *, at: str, known: set[str]) -> None:
    for name, value in entry.items():
        if name in known or name in _WITHOUT_EFFECT or value in ("", None):
            continue
        if name in _REFUSED or name.startswith("as-"):
            raise KubeconfigError(f"{at}.{name}", _REFUSED.get(name, _REFUSED["as"]))
        raise KubeconfigError(f"{at}.{name}", "Slipway does not know this field and does not ignore it. Remove it.")


def _connection(
    *, cluster: dict[str, Any], cluster_at: str, user: dict[str, Any], user_at: str, allow_insecure: bool
) -> Connection:
    _refuse_fields(cluster, at=cluster_at, known=_CLUSTER_FIELDS)
    _refuse_fields(user, at=user_at, known=_USER_FIELDS)
    insecure = str(cluster.get("insecure-skip-tls-verify", "")).lower() in ("true", "yes", "on", "1")
    if insecure and not allow_insecure:
        raise KubeconfigError(
            f"{cluster_at}.insecure-skip-tls-verify",
            "Anybody on the way could read the credentials. Add certificate-authority-data, or tick that the "
            "certificate is not to be checked.",
        )
    certificate = _pem(user, "client-certificate-data", at=user_at)
    key = _pem(user, "client-key-data", at=user_at)
    _check_pair(certificate, key, at=user_at)
    token = _text(user, "token", at=user_at)
    if not token and not certificate:
        raise KubeconfigError(user_at, f"There is no token and no client certificate. {_ACCOUNT_INSTEAD}")
    if any(c.isspace() or not c.isprintable() or ord(c) > 126 for c in token):
        raise KubeconfigError(f"{user_at}.token", "A token has no spaces or line breaks.")
    return Connection(
        server=_server(_text(cluster, "server", at=cluster_at), at=f"{cluster_at}.server"),
        ca_data="" if insecure else _authority(cluster, at=cluster_at),
        token=token,
        client_certificate=certificate,
        client_key=key,
        tls_server_name=_text(cluster, "tls-server-name", at=cluster_at),
        insecure=insecure,
    )


def _text(entry: dict[str, Any], name: str, *, at: str) -> str:
    value = entry.get(name, "")
    if not isinstance(value, str):
        raise KubeconfigError(f"{at}.{name}", "Must be a text.")
    return value.strip()


def _server(url: str, *, at: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise KubeconfigError(at, "Must be an address like https://10.4.0.10:6443.") from error
    if parts.scheme != "https" or not parts.hostname:
        raise KubeconfigError(at, "Must begin with https://, so that the credentials are not sent in the clear.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise KubeconfigError(at, "Must be an address only, without name, password, ? or #.")
    return url.rstrip("/")


def _pem(entry: dict[str, Any], name: str, *, at: str) -> str:
    encoded = _text(entry, name, at=at)
    if not encoded:
        return ""
    try:
        text = base64.b64decode(encoded, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise KubeconfigError(f"{at}.{name}", "Must be base64 of a PEM text.") from error
    if "-----BEGIN" not in text:
        raise KubeconfigError(f"{at}.{name}", "Must be base64 of a PEM text.")
    return text


def _authority(cluster: dict[str, Any], *, at: str) -> str:
    pem = _pem(cluster, "certificate-authority-data", at=at)
    if pem:
        try:
            ssl.create_default_context(cadata=pem)
        except ssl.SSLError as error:
            raise KubeconfigError(f"{at}.certificate-authority-data", "Holds no readable certificate.") from error
    return pem


def _check_pair(certificate: str, key: str, *, at: str) -> None:
    if not certificate and not key:
        return
    if not certificate or not key:
        raise KubeconfigError(at, "client-certificate-data and client-key-data go together; one is missing.")
    try:
        public = load_pem_x509_certificate(certificate.encode()).public_key()
    except ValueError as error:
        raise KubeconfigError(f"{at}.client-certificate-data", "Holds no readable certificate.") from error
    if _der(_private(key, at=at)) != public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise KubeconfigError(f"{at}.client-key-data", "This key does not belong to the certificate beside it.")


def _private(key: str, *, at: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise KubeconfigError(f"{at}.client-key-data", "Must be a PEM key without a password.") from error


def _der(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

"""What an operator decides about the router of a cluster."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from routerd import contract
from studio.errors import FieldErrors

SERVICE_TYPES = ("LoadBalancer", "NodePort", "ClusterIP")
_IMAGE = re.compile(r"^[a-z0-9][\w.:/@-]{0,250}$")
_SECRET = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
PLAIN_HTTP = ("allow", "redirect", "refuse")
MOST_REPLICAS = 9
IMAGE_NEEDED = (
    "Must name the image of Slipway that this cluster's nodes can pull. Build it with make image and push it to your "
    "registry, for example registry.example.org/slipway-routerd:0.1.0."
)


@dataclass(frozen=True)
class RouterSettings:
    """How the router is installed. Everything has a default but the image on a real cluster."""

    image: str = ""  # "" on the embedded cluster means the one it always has
    service_type: str = "LoadBalancer"
    port: int = 80  # what callers connect to (LoadBalancer, ClusterIP)
    node_port: int = 0  # NodePort only; 0 lets the cluster pick
    replicas: int = 1
    address: str = ""  # what callers are told, when it is not the Service's own: "https://score.example.org"
    artifacts_gib: int = 20  # size of the artifact cache's volume, where the cluster has a default storage class
    pull_secret: str = ""  # a kubernetes.io/dockerconfigjson Secret in slipway-system
    tls_secrets: str = ""  # Secrets with certificates in slipway-system, spaces between; the first is the default
    plain_http: str = "allow"  # or "redirect" to TLS, or "refuse"
    log_sample: int = 1  # one in so many successful requests is logged; errors always

    @property
    def scheme(self) -> str:
        """Of the address callers are told: https where nothing else answers."""
        return "http" if self.plain_http == "allow" else "https"

    def certificates(self) -> tuple[str, ...]:
        """The Secrets with certificates the router may read."""
        return tuple(self.tls_secrets.split()) or (contract.TLS_SECRET,)


def to_json(settings: RouterSettings) -> dict[str, Any]:
    return asdict(settings)


def from_json(values: Mapping[str, Any]) -> RouterSettings:
    """Settings as stored; fields of another version of Slipway are left out."""
    known = RouterSettings.__dataclass_fields__
    return RouterSettings(**{name: value for name, value in values.items() if name in known})


def check_settings(settings: RouterSettings, *, runtime: str) -> RouterSettings:
    """The settings with defaults filled in for this cluster. Raises FieldErrors."""
    errors: dict[str, list[str]] = {}
    if not settings.image and runtime == contract.RUNTIME_PROCESS:
        settings = replace(settings, image=contract.EMBEDDED_SLIPWAY_IMAGE)
    if not settings.image:
        errors["image"] = [IMAGE_NEEDED]
    elif not _IMAGE.match(settings.image):
        errors["image"] = ["Must be an image reference such as registry.example.org/slipway:0.1.0."]
    if settings.service_type not in SERVICE_TYPES:
        errors["service_type"] = [f"Must be one of {', '.join(SERVICE_TYPES)}."]
    for name, low, high in (
        ("port", 1, 65535),
        ("replicas", 1, MOST_REPLICAS),
        ("artifacts_gib", 1, 10_000),
        ("log_sample", 1, 1_000_000),
    ):
        if not low <= getattr(settings, name) <= high:
            errors[name] = [f"Must be {low} to {high}."]
    errors |= _tls_errors(settings)
    if settings.node_port and not 30000 <= settings.node_port <= 32767:
        errors["node_port"] = ["Must be 30000 to 32767, or empty for any."]
    if settings.address and not _is_address(settings.address):
        errors["address"] = ["Must be an address like https://score.example.org, without a path."]
    if errors:
        raise FieldErrors(errors)
    return replace(settings, address=settings.address.rstrip("/"))


def _tls_errors(settings: RouterSettings) -> dict[str, list[str]]:
    errors = {}
    if not all(_SECRET.match(name) for name in settings.tls_secrets.split()):
        errors["tls_secrets"] = ["Must be names of Secrets in slipway-system, with spaces between."]
    if settings.plain_http not in PLAIN_HTTP:
        errors["plain_http"] = [f"Must be one of {', '.join(PLAIN_HTTP)}."]
    elif settings.plain_http != "allow" and not settings.tls_secrets:
        errors["plain_http"] = ["Needs a certificate: without TLS nobody could call."]
    return errors


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and parts.path in ("", "/")
        and not (parts.query or parts.fragment or parts.username)
    )


def known_address(settings: RouterSettings, *, runtime: str) -> str:
    """The address callers use, where it is known before the Service has one; "" otherwise."""
    if settings.address:
        return settings.address
    if runtime == contract.RUNTIME_PROCESS and settings.service_type == "LoadBalancer":
        return f"http://127.0.0.1:{settings.port}" if settings.scheme == "http" else "https://127.0.0.1"
    return ""

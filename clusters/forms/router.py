"""The form of the router's settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from clusters.install.settings import RouterSettings, to_json
from clusters.models import Cluster
from routerd import contract
from studio.errors import FieldErrors
from studio.forms import Field, Form, Option

NUMBERS = ("port", "node_port", "replicas", "artifacts_gib", "log_sample")
_TYPES = (
    Option("LoadBalancer", "Load balancer", "The cluster hands out an address. Needs a controller that does."),
    Option("NodePort", "Node port", "The same port on every node."),
    Option("ClusterIP", "Inside the cluster", "Only pods of this cluster may call."),
)
_PLAIN = (
    Option("allow", "Answer", "Callers may use http and, with a certificate, https."),
    Option("redirect", "Redirect to https", "Keys have crossed the network in the open by then."),
    Option("refuse", "Refuse", "403, with the words to use https."),
)


def router_fields(cluster: Cluster) -> tuple[Field, ...]:
    """The fields for this cluster."""
    process = cluster.runtime == contract.RUNTIME_PROCESS
    image_hint = (
        "Empty: the Slipway this studio runs."
        if process
        else "Slipway's image in a registry your nodes can pull from. Build it with make image."
    )
    return (
        Field("image", "Image", hint=image_hint, mono=True),
        Field("service_type", "Callers reach it by", "radio", options=_TYPES),
        Field("port", "Port", "number", hint="What callers connect to, with a load balancer or inside the cluster."),
        Field("node_port", "Node port", "number", hint="30000 to 32767; empty lets the cluster pick."),
        Field("replicas", "Router pods", "number", hint="3 on 3 nodes survive the loss of any node."),
        Field("address", "Address callers are told", hint="Only when it is not the Service's own.", mono=True),
        Field(
            "tls_secrets",
            "Certificates",
            hint="Secrets of type kubernetes.io/tls in slipway-system, spaces between. The first is also for hosts no "
            "other one names. They may be made or replaced at any time. Empty: no TLS.",
            mono=True,
        ),
        Field("plain_http", "Requests without TLS", "radio", options=_PLAIN),
        Field("artifacts_gib", "Artifact cache", "number", hint="Holds models and code in the cluster.", unit="GiB"),
        Field("pull_secret", "Pull secret", hint="Name of a registry Secret in slipway-system, if one is needed."),
        Field("log_sample", "Log one request in", "number", hint="Errors are always logged."),
    )


def router_form(
    cluster: Cluster, *, values: Mapping[str, str], errors: Mapping[str, Sequence[str]] | None = None
) -> Form:
    return Form(router_fields(cluster), values=values, errors=errors or {})


def values_of(settings: RouterSettings) -> dict[str, str]:
    """Settings as a form shows them."""
    return {name: str(value) if value or name != "node_port" else "" for name, value in to_json(settings).items()}


def read_settings(values: Mapping[str, str]) -> RouterSettings:
    """Settings from what was typed. Raises FieldErrors for what is no number."""
    errors: dict[str, list[str]] = {}
    found: dict[str, Any] = {}
    for name, default in to_json(RouterSettings()).items():
        typed = values.get(name, "").replace(",", "")
        if name not in NUMBERS:
            found[name] = typed or default
        elif not typed:
            found[name] = default
        elif typed.isascii() and typed.isdigit():
            found[name] = int(typed)
        else:
            errors[name] = ["Must be a whole number."]
    if errors:
        raise FieldErrors(errors)
    return RouterSettings(**found)

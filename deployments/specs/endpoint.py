"""EndpointSpec: the stable name callers use, and how requests are shared out among its deployments.

Traffic adds up to 0 (nobody is served, on purpose) or to 100. The mirror is at most one deployment, gets a copy of at
most half of the requests, and answers nobody, so it has no traffic of its own.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from deployments.specs.fields import Fields
from deployments.specs.names import name_error

KEY: Final = "key"
NONE: Final = "none"
MIRROR_MOST: Final = 50

_KEYS: Final = (
    "name",
    "description",
    "tags",
    "auth_mode",
    "compute",
    "traffic",
    "mirror_traffic",
    "$schema",  # editors write it; it means nothing here
)
_REFUSED: Final = {
    "public_network_access": "The router's Service decides who can reach it. Leave it out.",
    "identity": "Model pods get no identity in the cluster. Leave it out.",
}


@dataclass(frozen=True)
class Traffic:
    """Shares in percent by deployment name; 0 or 100 in total, and at most one mirror."""

    shares: Mapping[str, int] = field(default_factory=dict)
    mirror: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class EndpointSpec:
    """An endpoint, as somebody asked for it."""

    name: str
    auth_mode: str = KEY
    traffic: Mapping[str, int] = field(default_factory=dict)
    mirror: Mapping[str, int] = field(default_factory=dict)
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    compute: str = ""  # name of a compute target


def parse_endpoint(data: Mapping[str, Any]) -> EndpointSpec:
    """The spec of a mapping in Azure ML's shape (v2 online endpoint). Raises FieldErrors by path."""
    fields = Fields(data)
    fields.only(_KEYS, refused=_REFUSED)
    name = fields.text("name", required="Must be the name of the endpoint.")
    if name and (error := name_error(name)):
        fields.wrong("name", error)
    traffic = _traffic(fields, mirror_key="mirror_traffic", known=None)
    spec = EndpointSpec(
        name=name,
        auth_mode=_auth_mode(fields),
        traffic=traffic.shares,
        mirror=traffic.mirror,
        description=fields.text("description"),
        tags=fields.texts("tags"),
        compute=fields.text("compute", required="Must be a compute target.").removeprefix("azureml:"),
    )
    fields.finish()
    return spec


def parse_traffic(
    shares: Mapping[str, Any], *, mirror: Mapping[str, Any], known: Collection[str] | None = None
) -> Traffic:
    """Shares and mirror, checked together; `known` are the deployments there are. Raises FieldErrors.

    Error paths: "traffic", "traffic.NAME", "mirror", "mirror.NAME".
    """
    fields = Fields({"traffic": dict(shares), "mirror": dict(mirror)})
    traffic = _traffic(fields, mirror_key="mirror", known=known)
    fields.finish()
    return traffic


def _auth_mode(fields: Fields) -> str:
    mode = fields.text("auth_mode", default=KEY).lower()
    if mode in ("aml_token", "aad_token"):
        fields.wrong("auth_mode", "Must be key: tokens are not served yet.")
        return KEY
    return fields.choice("auth_mode", choices=(KEY, NONE), default=KEY)


def _traffic(fields: Fields, *, mirror_key: str, known: Collection[str] | None) -> Traffic:
    shares, mirror = fields.percents("traffic"), fields.percents(mirror_key)
    _check_names(fields.level("traffic"), shares, known)
    _check_names(fields.level(mirror_key), mirror, known)
    total = sum(shares.values())
    if total not in (0, 100):
        fields.wrong("traffic", f"Must add up to 100 (or 0, to serve nobody); it is {total}.")
    if len(mirror) > 1:
        fields.wrong(mirror_key, "Must be one deployment at most.")
    for name, percent in mirror.items():
        if percent > MIRROR_MOST:
            fields.level(mirror_key).wrong(name, f"Must be {MIRROR_MOST} or less.")
        if shares.get(name):
            fields.level(mirror_key).wrong(name, f"Must be a deployment without traffic; {name} has {shares[name]} %.")
    return Traffic(shares=shares, mirror=mirror)


def _check_names(level: Fields, shares: Mapping[str, int], known: Collection[str] | None) -> None:
    for name in shares:
        if known is not None and name not in known:
            level.wrong(name, f"Must be a deployment of this endpoint; there is no {name}.")


def endpoint_to_json(spec: EndpointSpec) -> dict[str, Any]:
    """The spec in the written shape; `parse_endpoint` reads it back."""
    return {
        "name": spec.name,
        "description": spec.description,
        "tags": dict(spec.tags),
        "auth_mode": spec.auth_mode,
        "compute": spec.compute,
        "traffic": dict(spec.traffic),
        "mirror_traffic": dict(spec.mirror),
    }

"""The form of a new endpoint: name, where it runs, how callers sign in."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clusters.models import ComputeTarget
from deployments.models import AuthMode
from deployments.specs.paths import nest
from studio.forms import Field, Form, Option


def endpoint_fields(targets: Iterable[ComputeTarget]) -> tuple[Field, ...]:
    """The fields, with these compute targets to choose from."""
    places = tuple(Option(each.name, f"{each.name} ({each.cluster} / {each.namespace})") for each in targets)
    return (
        Field("name", "Name", hint="Part of the address. Letters, digits, single dashes; 3 to 32."),
        Field("compute", "Compute target", kind="select", options=places),
        Field(
            "auth_mode",
            "Callers sign in with",
            kind="radio",
            options=(
                Option(AuthMode.KEY, "Key", "Callers send a key; without it they get 401."),
                Option(AuthMode.NONE, "Nothing", "Whoever reaches the router may call."),
            ),
        ),
        Field("description", "Description", kind="textarea", rows=2, hint="For the people who look here."),
    )


def endpoint_form(
    fields: tuple[Field, ...], *, values: Mapping[str, str], errors: Mapping[str, Sequence[str]] | None = None
) -> Form:
    """The form to show."""
    return Form(fields=fields, values={"auth_mode": AuthMode.KEY} | dict(values), errors=errors or {})


def endpoint_mapping(values: Mapping[str, str]) -> dict[str, Any]:
    """What `parse_endpoint` reads."""
    return nest({path: value for path, value in values.items() if value})

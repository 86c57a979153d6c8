"""The form of a new compute target."""

from collections.abc import Iterable, Mapping, Sequence

from clusters.models import Cluster
from studio.forms import Field, Form, Option


def target_form(
    clusters: Iterable[Cluster], *, values: Mapping[str, str], errors: Mapping[str, Sequence[str]] | None = None
) -> Form:
    """Name, cluster, namespace."""
    fields = (
        Field("name", "Name", hint="How endpoints name the place. Small letters, digits, single dashes."),
        Field("cluster", "Cluster", "select", options=tuple(Option(each.name, each.name) for each in clusters)),
        Field("namespace", "Namespace", hint="Everything of this target runs in it, and only there.", mono=True),
        Field("create_namespace", "Make the namespace if it is not there", "tick"),
        Field("description", "Description", hint="For the people who choose where to run."),
    )
    return Form(fields, values=values, errors=errors or {})

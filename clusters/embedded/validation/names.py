"""Names, labels, annotations and owners: what every kind's metadata must keep (pure)."""

import re
from collections.abc import Iterator
from typing import Final

from clusters.embedded.causes import Cause, invalid, required
from clusters.embedded.resources import Obj, Resource

_SUBDOMAIN: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
LABEL: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_QUALIFIED: Final = re.compile(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
_LABEL_VALUE: Final = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_LABEL_NAMED: Final = frozenset({"namespaces", "services"})
_FREE_NAMED: Final = re.compile(r"\.rbac\.authorization\.k8s\.io$")
_SUBDOMAIN_WORDS: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character"
)
LABEL_WORDS: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character"
)


def check_metadata(resource: Resource, metadata: Obj) -> Iterator[Cause]:
    name = metadata["name"]
    if resource.key in _LABEL_NAMED:
        if not LABEL.match(name) or len(name) > 63:
            yield invalid("metadata.name", name, LABEL_WORDS)
    elif _FREE_NAMED.search(resource.key):
        if "/" in name or "%" in name or name in (".", ".."):
            yield invalid("metadata.name", name, "may not contain '/' or '%'")
    elif not _SUBDOMAIN.match(name) or len(name) > 253:
        yield invalid("metadata.name", name, _SUBDOMAIN_WORDS)
    yield from check_labels(metadata.get("labels"), "metadata.labels")
    for key in metadata.get("annotations") or ():
        if not _QUALIFIED.match(key.lower()):
            yield invalid("metadata.annotations", key, "name part must consist of alphanumeric characters")
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield required(f"metadata.ownerReferences[{index}].{field}")


def check_labels(labels: dict[str, str] | None, field: str) -> Iterator[Cause]:
    for key, value in (labels or {}).items():
        if not _QUALIFIED.match(key):
            yield invalid(field, key, "name part must consist of alphanumeric characters, '-', '_' or '.'")
        if len(value) > 63:
            yield invalid(field, value, "must be no more than 63 characters")
        elif not _LABEL_VALUE.match(value):
            yield invalid(
                field,
                value,
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
                "'.', and must start and end with an alphanumeric character",
            )

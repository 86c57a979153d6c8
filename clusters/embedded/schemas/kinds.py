"""The shape of any resource, built in or custom."""

import functools
from typing import Final

from clusters.embedded.resources import CUSTOM_RESOURCE_DEFINITIONS, Resource
from clusters.embedded.schemas.shapes import ROOT_FIELDS, STRING, Shape, built_in_types, fields_of


def shape_of(resource: Resource) -> Shape:
    """The shape of a whole object of this resource."""
    return resource.shape or _built_in(resource)


def struct_name(resource: Resource) -> str:
    """`apps.v1.Deployment`: what kubernetes.json calls a built-in kind."""
    return f"{resource.group.split('.')[0] or 'core'}.{resource.version}.{resource.kind}"


def _open(**fields: Shape) -> Shape:
    return Shape("struct", own_fields=fields, open=True)


def _listed(item: Shape) -> Shape:
    return Shape("list", item=item, atomic=True)


_BOOL: Final = Shape("scalar", scalar="bool")
_NAMES: Final = _open(
    **dict.fromkeys(("plural", "singular", "kind", "listKind"), STRING),
    **dict.fromkeys(("shortNames", "categories"), _listed(STRING)),
)
_VERSION: Final = _open(
    name=STRING,
    served=_BOOL,
    storage=_BOOL,
    schema=_open(openAPIV3Schema=_open()),
    subresources=_open(status=_open(), scale=_open()),
    additionalPrinterColumns=_listed(_open(name=STRING, type=STRING, jsonPath=STRING)),
)
# Definitions are not among the types of kubernetes.json: this much of their shape the server relies on.
_DEFINITION: Final = _open(
    **ROOT_FIELDS,
    spec=_open(group=STRING, scope=STRING, names=_NAMES, versions=_listed(_VERSION)),
    status=_open(),
)


@functools.cache
def _built_in(resource: Resource) -> Shape:
    if resource == CUSTOM_RESOURCE_DEFINITIONS:
        return _DEFINITION
    name = struct_name(resource)
    if name not in built_in_types():
        return Shape("struct", own_fields=ROOT_FIELDS, open=True)
    return Shape("struct", own_fields={**ROOT_FIELDS, **fields_of(name)})

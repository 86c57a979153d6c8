"""Label and field selectors: text or API object in, one predicate out (pure).

Label selectors come in two shapes: the query string (`app=web,tier in (a,b),!old`) and the
LabelSelector object (`matchLabels`, `matchExpressions`). Both become a `Selector`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clusters.embedded.errors import BadRequest


@dataclass(frozen=True)
class Requirement:
    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist, Gt, Lt
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator == "In":
            return value in self.values
        if self.operator == "NotIn":
            return value not in self.values
        if self.operator == "Exists":
            return value is not None
        if self.operator == "DoesNotExist":
            return value is None
        return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        try:
            number, bound = int(value or ""), int(next(iter(self.values)))
        except ValueError:
            return False
        return number > bound if self.operator == "Gt" else number < bound


@dataclass(frozen=True)
class Selector:
    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False  # a null LabelSelector selects nothing, an empty one everything

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.nothing:
            return False
        labels = labels or {}
        return all(requirement.matches(labels) for requirement in self.requirements)


NOTHING = Selector(nothing=True)

_SET = re.compile(r"^(?P<key>\S+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUALITY = re.compile(r"^(?P<key>[^\s=!<>]+)\s*(?P<op>==|=|!=|>|<)\s*(?P<value>[^\s=!<>]*)$")
_KEY = re.compile(r"^(?P<not>!?)\s*(?P<key>[^\s=!<>(),]+)$")
_COMMA = re.compile(r",(?![^()]*\))")
_EQUALITY_OPERATORS = {"=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt"}


def parse(text: str) -> Selector:
    """A label selector from a query string. Raises BadRequest on what it cannot read."""
    parts = [part.strip() for part in _COMMA.split(text)] if text.strip() else []
    return Selector(tuple(_requirement(part, text=text) for part in parts))


def _requirement(part: str, *, text: str) -> Requirement:
    if match := _SET.match(part):
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Requirement(match["key"], "In" if match["op"] == "in" else "NotIn", values)
    if match := _EQUALITY.match(part):
        return Requirement(match["key"], _EQUALITY_OPERATORS[match["op"]], frozenset({match["value"]}))
    if match := _KEY.match(part):
        return Requirement(match["key"], "DoesNotExist" if match["not"] else "Exists")
    raise BadRequest(f'unable to parse requirement: found "{part}" in label selector "{text}"')


def from_object(selector: Mapping[str, Any] | None) -> Selector:
    """A LabelSelector object, as in a Deployment's spec.selector."""
    if selector is None:
        return NOTHING
    equal = [Requirement(key, "In", frozenset({value})) for key, value in (selector.get("matchLabels") or {}).items()]
    expressions = [
        Requirement(item["key"], item["operator"], frozenset(item.get("values") or ()))
        for item in selector.get("matchExpressions") or ()
    ]
    return Selector(tuple(equal + expressions))


def from_labels(labels: Mapping[str, str] | None) -> Selector:
    """A plain map, as in a Service's spec.selector; an empty or missing one selects nothing."""
    if not labels:
        return NOTHING
    return Selector(tuple(Requirement(key, "In", frozenset({value})) for key, value in labels.items()))


@dataclass(frozen=True)
class FieldSelector:
    """(path, operator, value) over dotted paths of the object; `=`, `==` and `!=` only."""

    terms: tuple[tuple[tuple[str, ...], bool, str], ...] = ()

    def matches(self, obj: Mapping[str, Any]) -> bool:
        return all((_at(obj, path) == value) is equal for path, equal, value in self.terms)


_ANY_KIND = frozenset({"metadata.name", "metadata.namespace"})
_FIELDS: dict[str, frozenset[str]] = {
    "pods": frozenset(
        {
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        }
    ),
    "events": frozenset(
        {
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        }
    ),
    "nodes": frozenset({"spec.unschedulable"}),
    "namespaces": frozenset({"status.phase"}),
    "secrets": frozenset({"type"}),
    "services": frozenset({"spec.clusterIP", "spec.type"}),
    "replicasets.apps": frozenset({"status.replicas"}),
    "jobs.batch": frozenset({"status.successful"}),
}


def parse_fields(text: str, *, resource_key: str) -> FieldSelector:
    """A field selector from a query string. Raises BadRequest for a field that cannot be selected."""
    terms = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.match(r"^([^=!]+)(==|=|!=)(.*)$", part)
        if not match:
            raise BadRequest(f"invalid field selector: {part!r}")
        path, operator, value = match[1].strip(), match[2], match[3].strip()
        if path not in _ANY_KIND | _FIELDS.get(resource_key, frozenset()):
            raise BadRequest(_not_selectable(path, resource_key=resource_key))
        terms.append((tuple(path.split(".")), operator != "!=", value))
    return FieldSelector(tuple(terms))


def _not_selectable(path: str, *, resource_key: str) -> str:
    if resource_key in _FIELDS:
        return f"field label not supported: {path}"
    return f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def exact_name(text: str) -> str:
    """The one name a field selector leaves (`metadata.name=web`), or "": what a request is authorised for."""
    match = re.search(r"(?:^|,)\s*metadata\.name\s*==?([^=,]+)", text)
    return match[1].strip() if match else ""


def _at(obj: Mapping[str, Any], path: tuple[str, ...]) -> str:
    if path == ("source",):
        return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or "")
    value: Any = obj
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    if value is None:
        return "false" if path[-1] in {"unschedulable", "hostNetwork"} else ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def to_text(selector: Mapping[str, Any] | None) -> str:
    """A LabelSelector object as the query string that means the same."""
    parts = [f"{key}={value}" for key, value in ((selector or {}).get("matchLabels") or {}).items()]
    for item in (selector or {}).get("matchExpressions") or ():
        values = f"({','.join(item.get('values') or ())})"
        words = {
            "In": f"{item['key']} in {values}",
            "NotIn": f"{item['key']} notin {values}",
            "Exists": item["key"],
            "DoesNotExist": f"!{item['key']}",
        }
        parts.append(words[item["operator"]])
    return ",".join(parts)

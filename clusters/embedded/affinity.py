"""Which nodes a pod may be on, by labels (pure): node selector and affinity, affinity to other pods.

Only what is required; preferences and topology spread are not weighed (the scheduler spreads by room anyway). The
anti-affinity of pods that are there already is not asked when another pod comes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clusters.embedded.resources import Obj
from clusters.embedded.selectors import Requirement, from_object

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def matches_node(spec: Obj, *, node: Obj) -> bool:
    """nodeSelector and required node affinity."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED)
    if not affinity:
        return True
    terms = affinity.get("nodeSelectorTerms") or ()
    return any(_matches_term(term, labels=labels, name=node["metadata"]["name"]) for term in terms)


def _matches_term(term: Obj, *, labels: Mapping[str, str], name: str) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_requirement(e).matches(labels) for e in expressions) and all(
        _requirement(e).matches({"metadata.name": name}) for e in fields
    )


def _requirement(expression: Obj) -> Requirement:
    return Requirement(expression["key"], expression["operator"], frozenset(expression.get("values") or ()))


@dataclass(frozen=True)
class Placed:
    """A pod and the labels of the node it is on."""

    pod: Obj
    node_labels: Mapping[str, str]


def pod_terms(spec: Obj, kind: str) -> Sequence[Obj]:
    """The required terms of podAffinity or podAntiAffinity."""
    return ((spec.get("affinity") or {}).get(kind) or {}).get(_REQUIRED) or ()


def breaks_pod_rules(pod: Obj, *, node: Obj, placed: Iterable[Placed]) -> str:
    """Which rule about other pods forbids this node, in a scheduler's words, or ""."""
    labels, others = node["metadata"].get("labels") or {}, list(placed)
    for term in pod_terms(pod["spec"], "podAntiAffinity"):
        if _companions(term, pod=pod, labels=labels, others=others):
            return "node(s) didn't match pod anti-affinity rules"
    for term in pod_terms(pod["spec"], "podAffinity"):
        first = _selects(term, pod, home=pod) and not any(_selects(term, other.pod, home=pod) for other in others)
        if not first and not _companions(term, pod=pod, labels=labels, others=others):
            return "node(s) didn't match pod affinity rules"
    return ""


def _companions(term: Obj, *, pod: Obj, labels: Mapping[str, str], others: Sequence[Placed]) -> bool:
    """Whether a pod the term is about is in the same place."""
    key = term["topologyKey"]
    here = labels.get(key)
    return here is not None and any(
        other.node_labels.get(key) == here and _selects(term, other.pod, home=pod) for other in others
    )


def _selects(term: Obj, other: Obj, *, home: Obj) -> bool:
    spaces = term.get("namespaces") or [home["metadata"].get("namespace")]
    if other["metadata"].get("namespace") not in spaces and "namespaceSelector" not in term:
        return False
    return from_object(term.get("labelSelector")).matches(other["metadata"].get("labels"))

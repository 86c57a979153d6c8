"""Rules for roles and their bindings (pure)."""

from collections.abc import Iterator

from clusters.embedded.causes import Cause, invalid, required, unsupported
from clusters.embedded.resources import Obj

_GROUP = "rbac.authorization.k8s.io"


def role(obj: Obj) -> Iterator[Cause]:
    namespaced = obj["kind"] == "Role"
    for index, rule in enumerate(obj.get("rules") or ()):
        field = f"rules[{index}]"
        if not rule.get("verbs"):
            yield required(f"{field}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            if namespaced:
                why = "namespaced rules cannot apply to non-resource URLs"
                yield invalid(f"{field}.nonResourceURLs", rule["nonResourceURLs"], why)
            if any(rule.get(name) for name in ("apiGroups", "resources", "resourceNames")):
                why = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid(f"{field}.nonResourceURLs", rule["nonResourceURLs"], why)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{field}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{field}.resources", "resource rules must supply at least one resource")


def binding(obj: Obj) -> Iterator[Cause]:
    reference = obj.get("roleRef") or {}
    kinds = ("ClusterRole",) if obj["kind"] == "ClusterRoleBinding" else ("ClusterRole", "Role")
    if reference.get("apiGroup", _GROUP) != _GROUP:
        yield unsupported("roleRef.apiGroup", reference["apiGroup"], (_GROUP,))
    if reference.get("kind") not in kinds:
        yield unsupported("roleRef.kind", reference.get("kind", ""), kinds)
    if not reference.get("name"):
        yield required("roleRef.name")
    for index, subject in enumerate(obj.get("subjects") or ()):
        yield from _subject(subject, f"subjects[{index}]", namespaced=obj["kind"] == "RoleBinding")


def _subject(subject: Obj, field: str, *, namespaced: bool) -> Iterator[Cause]:
    kind = subject.get("kind", "")
    if not subject.get("name"):
        yield required(f"{field}.name")
    if kind == "ServiceAccount":
        if not namespaced and not subject.get("namespace"):
            yield required(f"{field}.namespace")
        if subject.get("apiGroup"):
            yield unsupported(f"{field}.apiGroup", subject["apiGroup"], ("",))
    elif kind not in ("User", "Group"):
        yield unsupported(f"{field}.kind", kind, ("ServiceAccount", "User", "Group"))
    elif subject.get("apiGroup", _GROUP) != _GROUP:
        yield unsupported(f"{field}.apiGroup", subject["apiGroup"], (_GROUP,))

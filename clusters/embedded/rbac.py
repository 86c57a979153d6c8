"""Who may do what: roles and bindings, as RBAC reads them (pure).

    RoleBinding, ClusterRoleBinding          Index: subject -> grants              decide(user, attributes)
      subjects -> User:NAME, Group:NAME  =>    everywhere, and within a namespace =>   first grant that allows it
      roleRef  -> the role's rules             (made once per change of a role)        or none: refused

Rules only ever allow. A ServiceAccount is the user `system:serviceaccount:NAMESPACE:NAME`; whoever is in
`system:masters` may do everything without a role, as on a real cluster. Nobody hands on more than they hold:
`missing` takes the rules of a role apart, down to single rights, and says which of them the writer lacks.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from clusters.embedded import selectors
from clusters.embedded.resources import Obj

MASTERS: Final = "system:masters"
AUTHENTICATED: Final = "system:authenticated"
_ACCOUNT: Final = "system:serviceaccount:"
_ANY: Final = "*"


@dataclass(frozen=True)
class User:
    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attributes:
    """What a request wants to do, in the words of an access review. Without a resource it is about a path."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True)
class Rule:
    """A PolicyRule."""

    verbs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def to_object(self) -> Obj:
        return {word: list(values) for word, values in self._words() if values}

    def __str__(self) -> str:
        """As the refusal to hand it on shows it."""
        found = ", ".join(f"{word[0].upper()}{word[1:]}:{quoted(values)}" for word, values in self._words() if values)
        return "{" + found.replace("ApiGroups", "APIGroups") + "}"

    def _words(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return (
            ("apiGroups", self.groups),
            ("resources", self.resources),
            ("nonResourceURLs", self.paths),
            ("resourceNames", self.names),
            ("verbs", self.verbs),
        )


@dataclass(frozen=True)
class Grant:
    rule: Rule
    by: str  # the binding, in the words of an access review's reason


@dataclass(frozen=True)
class Index:
    """All grants by subject (`User:jane`, `Group:team`)."""

    everywhere: Mapping[str, list[Grant]] = field(default_factory=dict)
    within: Mapping[tuple[str, str], list[Grant]] = field(default_factory=dict)  # (namespace, subject)


# --- Reading roles and bindings ---------------------------------------------------------------------


def rules_of(role: Obj) -> list[Rule]:
    return [
        Rule(
            verbs=tuple(rule.get("verbs") or ()),
            groups=tuple(rule.get("apiGroups") or ()),
            resources=tuple(rule.get("resources") or ()),
            names=tuple(rule.get("resourceNames") or ()),
            paths=tuple(rule.get("nonResourceURLs") or ()),
        )
        for rule in role.get("rules") or ()
    ]


def aggregated(role: Obj, *, others: Iterable[Obj]) -> list[Obj]:
    """The rules of a ClusterRole with an aggregationRule: those of all ClusterRoles it selects, each once."""
    wanted = [selectors.from_object(each) for each in role["aggregationRule"].get("clusterRoleSelectors") or ()]
    found: list[Obj] = []
    for other in others:
        if other["metadata"]["name"] == role["metadata"]["name"]:
            continue
        if any(selector.matches(other["metadata"].get("labels")) for selector in wanted):
            found += [rule for rule in other.get("rules") or () if rule not in found]
    return found


def build_index(*, roles: Iterable[Obj], cluster_roles: Iterable[Obj], bindings: Iterable[Obj]) -> Index:
    """`bindings` are of both kinds. A binding to a role that is not there grants nothing."""
    rules = {(role["metadata"].get("namespace", ""), role["metadata"]["name"]): rules_of(role) for role in roles}
    rules |= {("", role["metadata"]["name"]): rules_of(role) for role in cluster_roles}
    everywhere: dict[str, list[Grant]] = {}
    within: dict[tuple[str, str], list[Grant]] = {}
    for binding in bindings:
        namespace, reference = binding["metadata"].get("namespace", ""), binding["roleRef"]
        place = namespace if reference["kind"] == "Role" else ""
        for subject in binding.get("subjects") or ():
            key, words = _subject(subject, namespace=namespace)
            granted = [Grant(rule, by=_described(binding, words)) for rule in rules.get((place, reference["name"]), ())]
            if namespace:
                within.setdefault((namespace, key), []).extend(granted)
            else:
                everywhere.setdefault(key, []).extend(granted)
    return Index(everywhere, within)


def _subject(subject: Obj, *, namespace: str) -> tuple[str, str]:
    """(key of the index, how reasons call it)."""
    kind, name = subject["kind"], subject["name"]
    if kind != "ServiceAccount":
        return f"{kind}:{name}", f"{kind} {json.dumps(name)}"
    home = subject.get("namespace") or namespace
    return f"User:{_ACCOUNT}{home}:{name}", f"{kind} {json.dumps(f'{name}/{home}')}"


def _described(binding: Obj, subject: str) -> str:
    metadata, role = binding["metadata"], binding["roleRef"]
    kind = "RoleBinding" if "namespace" in metadata else "ClusterRoleBinding"
    name = "/".join(filter(None, (metadata["name"], metadata.get("namespace"))))
    return f"{kind} {json.dumps(name)} of {role['kind']} {json.dumps(role['name'])} to {subject}"


# --- Deciding ---------------------------------------------------------------------------------------


def grants_of(index: Index, user: User, *, namespace: str) -> Iterator[Grant]:
    subjects = (f"User:{user.name}", *(f"Group:{group}" for group in user.groups))
    for subject in subjects:
        yield from index.everywhere.get(subject, ())
    if namespace:
        for subject in subjects:
            yield from index.within.get((namespace, subject), ())


def decide(index: Index, user: User, attributes: Attributes) -> tuple[bool, str]:
    """(allowed, reason)."""
    if MASTERS in user.groups:
        return True, ""
    for grant in grants_of(index, user, namespace=attributes.namespace):
        if allows(grant.rule, attributes):
            return True, f"RBAC: allowed by {grant.by}"
    return False, ""


def allows(rule: Rule, asked: Attributes) -> bool:
    if not _has(rule.verbs, asked.verb):
        return False
    if not asked.resource:
        return any(_path_covers(path, asked.path) for path in rule.paths)
    wanted = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    return (
        _has(rule.groups, asked.group)
        and any(_resource_covers(resource, wanted) for resource in rule.resources)
        and (not rule.names or asked.name in rule.names)
    )


def _has(values: tuple[str, ...], value: str) -> bool:
    return value in values or _ANY in values


def _resource_covers(resource: str, wanted: str) -> bool:
    if resource in (_ANY, wanted):
        return True
    return resource.startswith("*/") and "/" in wanted and resource[2:] == wanted.partition("/")[2]


def _path_covers(path: str, wanted: str) -> bool:
    return path in (_ANY, wanted) or (path.endswith("*") and wanted.startswith(path.rstrip("*")))


def missing(held: Iterable[Rule], wanted: Iterable[Rule]) -> list[str]:
    """Which rights of `wanted` are not held, as sentences show them: one line per rule, its verbs together."""
    owned, lacking = list(held), dict[Rule, list[str]]()
    for single in (part for rule in wanted for part in _parts(rule)):
        if not any(_covers(rule, single) for rule in owned):
            key = replace(single, verbs=())
            verbs = lacking.setdefault(key, [])
            verbs += [verb for verb in single.verbs if verb not in verbs]
    return sorted({str(replace(rule, verbs=tuple(verbs))) for rule, verbs in lacking.items()})


def _parts(rule: Rule) -> Iterator[Rule]:
    """A rule taken apart into rules of one right each."""
    for verb, path in itertools.product(rule.verbs, rule.paths):
        yield Rule(verbs=(verb,), paths=(path,))
    for group, resource, verb in itertools.product(rule.groups, rule.resources, rule.verbs):
        single = Rule(verbs=(verb,), groups=(group,), resources=(resource,))
        yield from (replace(single, names=(name,)) for name in rule.names)
        if not rule.names:
            yield single


def _covers(rule: Rule, single: Rule) -> bool:
    if not _has(rule.verbs, single.verbs[0]):
        return False
    if single.paths:
        return any(_path_covers(path, single.paths[0]) for path in rule.paths)
    return (
        _has(rule.groups, single.groups[0])
        and any(_resource_covers(resource, single.resources[0]) for resource in rule.resources)
        and (not rule.names or (bool(single.names) and single.names[0] in rule.names))
    )


# --- Words ------------------------------------------------------------------------------------------


def refusal(user: User, asked: Attributes) -> str:
    """What a 403 says after "is forbidden: "."""
    start = f"User {json.dumps(user.name)} cannot {asked.verb}"
    if not asked.resource:
        return f"{start} path {json.dumps(asked.path)}"
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    where = f"in the namespace {json.dumps(asked.namespace)}" if asked.namespace else "at the cluster scope"
    return f"{start} resource {json.dumps(resource)} in API group {json.dumps(asked.group)} {where}"


def escalation(user: User, lacking: list[str]) -> str:
    """What a 403 says to someone who would hand on more than they hold."""
    who = f"user {json.dumps(user.name)} (groups={quoted(user.groups)})"
    return f"{who} is attempting to grant RBAC permissions not currently held:\n" + "\n".join(lacking)


def quoted(values: Iterable[str]) -> str:
    return "[" + " ".join(json.dumps(value) for value in values) + "]"


def account_user(namespace: str, name: str, *, uid: str = "") -> User:
    """A ServiceAccount as a user, with the groups all of them are in."""
    groups = (f"{_ACCOUNT[:-1]}s", f"{_ACCOUNT[:-1]}s:{namespace}", AUTHENTICATED)
    return User(f"{_ACCOUNT}{namespace}:{name}", uid, groups)


def account_of(user: str) -> tuple[str, str] | None:
    """(namespace, name) of a ServiceAccount's user name."""
    namespace, separator, name = user.removeprefix(_ACCOUNT).partition(":")
    return (namespace, name) if user.startswith(_ACCOUNT) and separator else None

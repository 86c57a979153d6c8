"""Roles and bindings as decisions, without a cluster."""

import time
from typing import Any

import pytest

from clusters.embedded import rbac, rbac_defaults
from clusters.embedded.rbac import Attributes, Rule, User

JANE = User("jane", groups=("crew", "system:authenticated"))
PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


def role(name: str, *rules: Any, namespace: str = "") -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"metadata": metadata, "rules": list(rules)}


def binding(role_name: str, *subjects: tuple[str, str], namespace: str = "", kind: str = "ClusterRole") -> Any:
    metadata = {"name": f"to-{role_name}"} | ({"namespace": namespace} if namespace else {})
    who = [{"kind": subject, "name": name} for subject, name in subjects]
    return {"metadata": metadata, "roleRef": {"kind": kind, "name": role_name}, "subjects": who}


def may(index: rbac.Index, verb: str, resource: str, *, user: User = JANE, **more: str) -> bool:
    resource, _, subresource = resource.partition("/")
    return rbac.decide(index, user, Attributes(verb, resource=resource, subresource=subresource, **more))[0]


def index_of(*rules: Any) -> rbac.Index:
    """Jane has these rules everywhere."""
    return rbac.build_index(
        roles=[], cluster_roles=[role("some", *rules)], bindings=[binding("some", ("User", "jane"))]
    )


def test_without_a_binding_nothing_is_allowed_and_masters_need_none() -> None:
    assert not may(rbac.Index(), "get", "pods")
    assert may(rbac.Index(), "delete", "nodes", user=User("root", groups=(rbac.MASTERS,)))


def test_a_role_binding_counts_in_its_namespace_only_also_for_a_cluster_role() -> None:
    index = rbac.build_index(
        roles=[role("local", PODS, namespace="a")],
        cluster_roles=[role("wide", PODS)],
        bindings=[
            binding("local", ("User", "jane"), namespace="a", kind="Role"),
            binding("wide", ("Group", "crew"), namespace="b"),
        ],
    )
    assert may(index, "list", "pods", namespace="a")
    assert may(index, "list", "pods", namespace="b")
    assert not may(index, "list", "pods", namespace="c")
    assert not may(index, "list", "pods")


def test_a_role_of_another_namespace_is_not_meant() -> None:
    index = rbac.build_index(
        roles=[role("local", PODS, namespace="a")],
        cluster_roles=[],
        bindings=[binding("local", ("User", "jane"), namespace="b", kind="Role")],
    )
    assert not may(index, "get", "pods", namespace="b")


def test_an_account_is_bound_by_its_name_in_the_bindings_own_namespace_if_none_is_told() -> None:
    bound = binding("wide", ("ServiceAccount", "bot"), namespace="a")
    index = rbac.build_index(roles=[], cluster_roles=[role("wide", PODS)], bindings=[bound])
    assert may(index, "get", "pods", namespace="a", user=rbac.account_user("a", "bot"))
    assert not may(index, "get", "pods", namespace="a", user=rbac.account_user("b", "bot"))


@pytest.mark.parametrize(
    ("resources", "asked", "allowed"),
    [
        (["pods"], "pods/log", False),
        (["pods/log"], "pods/log", True),
        (["pods/log"], "pods", False),
        (["*/scale"], "deployments/scale", True),
        (["*/scale"], "deployments", False),
        (["*"], "pods/log", True),
    ],
)
def test_subresources_are_granted_by_name(resources: list[str], asked: str, allowed: bool) -> None:
    index = index_of({"apiGroups": ["*"], "resources": resources, "verbs": ["*"]})
    assert may(index, "get", asked) is allowed


def test_names_narrow_a_rule_and_so_refuse_what_has_no_name() -> None:
    index = index_of(
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["tls"], "verbs": ["get", "list", "create"]}
    )
    assert may(index, "get", "secrets", name="tls")
    assert may(index, "list", "secrets", name="tls")
    assert not may(index, "get", "secrets", name="other")
    assert not may(index, "list", "secrets")
    assert not may(index, "create", "secrets")


def test_paths_are_granted_whole_or_by_their_beginning() -> None:
    index = index_of({"nonResourceURLs": ["/healthz", "/apis/*"], "verbs": ["get"]})

    def path(text: str, verb: str = "get") -> bool:
        return rbac.decide(index, JANE, Attributes(verb, path=text))[0]

    assert path("/healthz")
    assert path("/apis/apps/v1")
    assert not path("/healthz/ping")
    assert not path("/metrics")
    assert not path("/healthz", "post")


def test_who_hands_on_rights_must_hold_each_of_them() -> None:
    held = [Rule(("get", "list"), ("",), ("pods", "pods/log"))]
    assert rbac.missing(held, [Rule(("get",), ("",), ("pods",), ("web",))]) == []
    lacking = rbac.missing(held, [Rule(("get", "delete", "watch"), ("",), ("pods",)), Rule(("get",), ("",), ("*",))])
    assert lacking == [
        '{APIGroups:[""], Resources:["*"], Verbs:["get"]}',
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "watch"]}',
    ]


def test_a_right_for_one_name_is_not_a_right_for_all() -> None:
    held = [Rule(("get",), ("",), ("secrets",), ("tls",))]
    assert rbac.missing(held, [Rule(("get",), ("",), ("secrets",), ("tls",))]) == []
    assert rbac.missing(held, [Rule(("get",), ("",), ("secrets",))]) != []


def test_the_administrators_role_covers_every_default_role() -> None:
    everything = rbac.rules_of(rbac_defaults.CLUSTER_ROLES[0])
    wanted = [rule for each in rbac_defaults.CLUSTER_ROLES for rule in rbac.rules_of(each)]
    assert rbac.missing(everything, wanted) == []


def test_a_decision_takes_microseconds_among_a_thousand_bindings() -> None:
    bindings = [binding("wide", ("User", f"user-{number}"), namespace=f"ns-{number}") for number in range(1000)]
    roles = [role("wide", *[{**PODS, "resources": [f"kind-{number}"]} for number in range(20)])]
    index = rbac.build_index(roles=[], cluster_roles=roles, bindings=[*bindings, *rbac_defaults.CLUSTER_ROLE_BINDINGS])
    user = User("user-500", groups=("a", "b", "system:authenticated"))
    asked = Attributes("get", resource="kind-19", namespace="ns-500")
    took = []
    for _ in range(200):
        began = time.perf_counter()
        assert rbac.decide(index, user, asked)[0]
        took.append(time.perf_counter() - began)
    assert min(took) < 200e-6

"""Nothing a client sends breaks the server: each part of good objects replaced by odd values."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from clusters.embedded import resources
from clusters.embedded.errors import BadRequest, Invalid, NotFound
from clusters.embedded.registry import Registry
from clusters.embedded.resources import Resource, copied
from clusters.embedded.store import Store
from tests.clusters.embedded.server.manifests import definition, deployment, pod

Obj = dict[str, Any]
ODD: tuple[Any, ...] = (None, 5, "x", [], {}, True, [None], ["a"], {"a": 1})


def rich_pod() -> Obj:
    obj = pod("a")
    obj["metadata"] |= {
        "labels": {"a": "b"},
        "annotations": {"a": "b"},
        "finalizers": ["a/b"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "u"}],
    }
    obj["spec"]["containers"][0] |= {
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
        "ports": [{"containerPort": 1, "name": "h"}],
        "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
        "livenessProbe": {"httpGet": {"port": 1}},
        "lifecycle": {"preStop": {"httpGet": {"port": 1}}},
        "volumeMounts": [{"name": "v", "mountPath": "/x"}],
    }
    obj["spec"]["volumes"] = [{"name": "v", "secret": {"secretName": "s"}}]
    return obj


GOOD: tuple[tuple[Resource, Obj], ...] = (
    (resources.PODS, rich_pod()),
    (resources.DEPLOYMENTS, deployment("d")),
    (
        resources.SERVICES,
        {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1, "name": "x"}], "selector": {"a": "b"}}},
    ),
    (
        resources.NETWORK_POLICIES,
        {"metadata": {"name": "n"}, "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 1}]}]}},
    ),
    (
        resources.JOBS,
        {"metadata": {"name": "j"}, "spec": {"template": pod("x", restartPolicy="Never")}},
    ),
    (
        resources.ROLE_BINDINGS,
        {
            "metadata": {"name": "r"},
            "roleRef": {"kind": "Role", "name": "x"},
            "subjects": [{"kind": "User", "name": "u"}],
        },
    ),
    (resources.SECRETS, {"metadata": {"name": "c"}, "data": {"a": "Yg=="}, "stringData": {"x": "y"}}),
    (resources.CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a": "b"}}),
    (
        resources.ENDPOINT_SLICES,
        {"metadata": {"name": "e"}, "endpoints": [{"addresses": ["127.0.0.1"]}], "ports": [{"port": 1}]},
    ),
    (resources.CUSTOM_RESOURCE_DEFINITIONS, definition()),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def with_odd(obj: Obj, path: tuple[Any, ...], odd: Any) -> Obj:
    changed: Any = copied(obj)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = odd
    return dict(changed)


def try_both(registry: Registry, resource: Resource, obj: Obj, *, name: str) -> None:
    """Any other exception than a refusal in words fails the test."""
    namespace = "default" if resource.namespaced else None
    with suppress(BadRequest, Invalid, NotFound):
        registry.create(resource, obj, namespace=namespace, manager="m", dry_run=True)
    applied = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
    with suppress(BadRequest, Invalid, NotFound):
        registry.apply(resource, namespace, name, applied=applied, manager="m", dry_run=True)


@pytest.mark.parametrize(("resource", "good"), GOOD, ids=lambda v: v.plural if isinstance(v, Resource) else "")
def test_an_odd_value_anywhere_is_taken_or_refused_in_words(resource: Resource, good: Obj) -> None:
    registry = Registry(Store(":memory:"))
    for path in places(good):
        for odd in ODD:
            try_both(registry, resource, with_odd(good, path, odd), name=good["metadata"]["name"])
    assert registry.find(resource, "default", good["metadata"]["name"]) is None


def test_an_odd_value_in_a_custom_object_is_taken_or_refused_in_words() -> None:
    registry = Registry(Store(":memory:"))
    registry.create(resources.CUSTOM_RESOURCE_DEFINITIONS, definition())
    widgets = registry.catalog.find("example.org", version="v1", plural="widgets")
    assert widgets is not None
    good = {"metadata": {"name": "w", "labels": {"a": "b"}}, "spec": {"size": 1}, "status": {}}
    for path in places(good):
        for odd in ODD:
            try_both(registry, widgets, with_odd(good, path, odd), name="w")
    assert registry.list(widgets) == []

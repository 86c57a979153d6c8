"""The three kinds of patch, on plain objects."""

from typing import Any

import pytest

from clusters.embedded import errors, patch
from clusters.embedded.resources import DEPLOYMENTS, PODS
from clusters.embedded.schemas.kinds import shape_of

Obj = dict[str, Any]


def change(kind: str, obj: Obj, document: Any, *, custom: bool = False) -> Obj:
    return patch.of_type(kind, document, shape=shape_of(DEPLOYMENTS), custom=custom)(obj)


def containers(*items: Obj) -> Obj:
    return {"spec": {"template": {"spec": {"containers": list(items)}}}}


@pytest.mark.parametrize(
    ("before", "document", "after"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}}, {"a": {"c": 2, "d": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": "x"}, {"a": {"b": {"c": None, "d": 1}}}, {"a": {"b": {"d": 1}}}),
    ],
)
def test_a_merge_patch_follows_rfc_7386(before: Obj, document: Obj, after: Obj) -> None:
    assert change(patch.MERGE, before, document) == after


def test_a_json_patch_follows_rfc_6902() -> None:
    before = {"metadata": {"annotations": {"a/b": "1"}}, "list": [1, 2, 3]}
    operations = [
        {"op": "test", "path": "/metadata/annotations/a~1b", "value": "1"},
        {"op": "replace", "path": "/metadata/annotations/a~1b", "value": "2"},
        {"op": "add", "path": "/list/-", "value": 4},
        {"op": "add", "path": "/list/0", "value": 0},
        {"op": "remove", "path": "/list/2"},
        {"op": "copy", "from": "/list", "path": "/copied"},
        {"op": "move", "from": "/list", "path": "/moved"},
    ]
    assert change(patch.JSON, before, operations) == {
        "metadata": {"annotations": {"a/b": "2"}},
        "copied": [0, 1, 3, 4],
        "moved": [0, 1, 3, 4],
    }
    assert before["list"] == [1, 2, 3]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/b"},
        {"op": "replace", "path": "/b", "value": 1},
        {"op": "add", "path": "/list/9", "value": 1},
        {"op": "dance", "path": "/a"},
        {"op": "add", "path": "a", "value": 1},
    ],
)
def test_a_json_patch_that_does_not_fit_is_unprocessable(operation: Obj) -> None:
    with pytest.raises(errors.ApiError) as refused:
        change(patch.JSON, {"a": 1, "list": []}, [operation])
    assert refused.value.code == 422


def test_a_strategic_patch_merges_containers_by_name_and_env_within_them() -> None:
    before = containers(
        {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]},
        {"name": "b", "image": "b:1"},
    )
    wanted = containers({"name": "a", "env": [{"name": "Y", "value": "2"}]})
    assert change(patch.STRATEGIC, before, wanted) == containers(
        {
            "name": "a",
            "image": "a:1",
            "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
        },
        {"name": "b", "image": "b:1"},
    )


def test_a_strategic_patch_deletes_and_replaces_items() -> None:
    before = containers({"name": "a", "env": [{"name": "X"}, {"name": "Y"}]}, {"name": "b"})
    wanted = containers({"name": "a", "env": [{"name": "X", "$patch": "delete"}]}, {"name": "b", "$patch": "delete"})
    assert change(patch.STRATEGIC, before, wanted) == containers({"name": "a", "env": [{"name": "Y"}]})
    replaced = containers({"name": "c"}, {"$patch": "replace"})
    assert change(patch.STRATEGIC, before, replaced) == containers({"name": "c"})


def test_a_strategic_patch_replaces_lists_without_a_key() -> None:
    before = containers({"name": "a", "args": ["1", "2"]})
    wanted = containers({"name": "a", "args": ["3"]})
    assert change(patch.STRATEGIC, before, wanted) == wanted


def test_the_order_asked_for_is_kept() -> None:
    before = containers({"name": "a"}, {"name": "b"}, {"name": "c"})
    order = {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}
    wanted = {"spec": {"template": {"spec": order}}}
    found = change(patch.STRATEGIC, before, wanted)["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in found] == ["c", "a", "b"]


def test_retained_keys_drop_the_rest_of_a_strategy() -> None:
    before = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    wanted = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert change(patch.STRATEGIC, before, wanted) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_values_of_a_merging_list_are_removed_one_by_one() -> None:
    before = {"metadata": {"finalizers": ["a", "b"]}}
    wanted = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}}
    found = patch.strategic(before, wanted, shape=shape_of(PODS))
    assert found["metadata"]["finalizers"] == ["b", "c"]


def test_custom_resources_know_no_strategic_patch() -> None:
    with pytest.raises(errors.UnsupportedMediaType):
        change(patch.STRATEGIC, {}, {}, custom=True)

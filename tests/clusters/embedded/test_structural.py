"""Structural schemas: validation with paths, defaults, and schemas that are themselves refused."""

from typing import Any

import pytest

from clusters.embedded.schemas import rules, structural

Schema = dict[str, Any]


def of(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "integer"}, "x", "a in body must be of type integer"),
        ({"type": "integer"}, True, "a in body must be of type integer"),
        ({"type": "integer", "minimum": 1}, 0, "a in body should be greater than or equal to 1"),
        ({"type": "integer", "maximum": 9}, 10, "a in body should be less than or equal to 9"),
        ({"type": "number", "minimum": 1, "exclusiveMinimum": True}, 1, "should be greater than 1"),
        ({"type": "string", "enum": ["x", "y"]}, "z", 'Unsupported value: "z": supported values: "x", "y"'),
        ({"type": "string", "pattern": "^a+$"}, "b", "a in body should match '^a+$'"),
        ({"type": "string", "maxLength": 1}, "bb", "may not be more than 1 bytes"),
        ({"type": "string", "minLength": 1}, "", "at least 1 chars long"),
        ({"type": "array", "maxItems": 1, "items": {}}, [1, 2], "must have at most 1 items"),
        ({"type": "array", "minItems": 1, "items": {}}, [], "at least 1 items"),
        ({"type": "object", "maxProperties": 0}, {"b": 1}, "must have at most 0 items"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, [], "at least one schema (anyOf)"),
        ({"oneOf": [{"type": "integer"}, {"minimum": 1}]}, 3, "one and only one schema (oneOf)"),
        ({"not": {"type": "string"}}, "x", "must not validate the schema (not)"),
        ({"allOf": [{"minimum": 5}], "type": "integer"}, 3, "greater than or equal to 5"),
        ({"x-kubernetes-int-or-string": True}, 1.5, "must be of type integer or string"),
    ],
)
def test_a_broken_rule_is_told_with_the_field(schema: Schema, value: Any, message: str) -> None:
    (cause,) = structural.validate({"a": value}, of(a=schema))
    assert cause["field"] == "a"
    assert message in cause["message"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 3.0),
        ({"type": "string", "nullable": True}, None),
        ({"x-kubernetes-int-or-string": True}, "25%"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"x": 1}),
    ],
)
def test_a_value_that_keeps_the_rules_is_let_through(schema: Schema, value: Any) -> None:
    assert structural.validate({"a": value}, of(a=schema)) == []


def test_paths_go_through_lists_and_maps() -> None:
    inner = of(n={"type": "integer"}) | {"required": ["n"]}
    schema = of(
        many={"type": "array", "items": inner},
        named={"type": "object", "additionalProperties": inner},
    )
    causes = structural.validate({"many": [{"n": 1}, {}], "named": {"k": {"n": "x"}}}, schema)
    assert [cause["field"] for cause in causes] == ["many[1].n", "named.k.n"]


def test_the_same_key_twice_in_a_keyed_list_is_refused() -> None:
    keyed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    schema = of(a={"type": "array", "items": {"type": "object"}, **keyed})
    (cause,) = structural.validate({"a": [{"name": "x"}, {"name": "x", "y": 1}]}, schema)
    assert (cause["reason"], cause["field"]) == ("FieldValueDuplicate", "a[1]")


def test_defaults_reach_into_lists_and_are_not_shared() -> None:
    schema = of(
        many={"type": "array", "items": of(tags={"type": "array", "default": ["x"]})},
        options=of(on={"type": "boolean", "default": True}) | {"default": {}},
    )
    value: dict[str, Any] = {"many": [{}, {"tags": ["y"]}]}
    structural.fill_defaults(value, schema)
    assert value == {"many": [{"tags": ["x"]}, {"tags": ["y"]}], "options": {"on": True}}
    value["many"][0]["tags"].append("z")
    again: dict[str, Any] = {"many": [{}]}
    structural.fill_defaults(again, schema)
    assert again["many"] == [{"tags": ["x"]}]


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        (of(a={}), "s.properties[a].type"),
        (of(a={"type": "text"}), "s.properties[a].type"),
        (of(a={"type": "string", "pattern": "("}), "s.properties[a].pattern"),
        (of(a={"type": "object", "properties": 3}), "s.properties[a].properties"),
        (of(a={"type": "array", "items": {"type": "array", "items": 3}}), "s.properties[a].items.items"),
    ],
)
def test_a_schema_out_of_order_is_refused_when_it_is_written(schema: Schema, field: str) -> None:
    assert [cause["field"] for cause in rules.check(schema, "s")] == [field]

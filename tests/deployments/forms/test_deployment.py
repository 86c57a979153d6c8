"""A form becomes the mapping of a YAML file."""

import pytest

from deployments.forms.deployment import (
    DEFAULTS,
    deployment_fields,
    deployment_mapping,
    read_yaml,
    values_of,
    write_yaml,
)
from deployments.forms.uploads import _below
from deployments.specs import deployment_to_json, parse_deployment
from deployments.specs.paths import flatten, nest
from studio.errors import FieldErrors

DIGEST = "a" * 64
TYPED = {**DEFAULTS, "name": "blue", "environment": "torch:4", "model": "bert:12"}


def test_a_path_becomes_levels_and_back() -> None:
    assert nest({"a.b": "1", "c": "2"}) == {"a": {"b": "1"}, "c": "2"}
    assert flatten({"a": {"b": 1}, "c": None}) == {"a.b": "1", "c": ""}


def test_the_form_and_the_yaml_of_a_deployment_mean_the_same() -> None:
    by_form = parse_deployment(deployment_mapping(TYPED, endpoint="iris"), code_digest=DIGEST)
    by_yaml = parse_deployment(read_yaml(write_yaml(by_form)))
    assert by_yaml == by_form
    assert by_form.scale.max_instances == 3


def test_editing_shows_what_was_deployed() -> None:
    spec = parse_deployment(
        deployment_mapping({**TYPED, "environment_variables": "A=1"}, endpoint="iris"), code_digest=DIGEST
    )
    again = deployment_mapping(values_of(deployment_to_json(spec)), endpoint="iris")
    assert parse_deployment(again) == spec


def test_fields_of_the_way_to_scale_that_was_not_chosen_are_left_out() -> None:
    fixed = deployment_mapping({**TYPED, "scale_settings.type": "default", "instance_count": "2"}, endpoint="iris")
    assert parse_deployment(fixed, code_digest=DIGEST).instance_count == 2
    assert fixed["scale_settings"] == {"type": "default"}
    assert "instance_count" not in deployment_mapping(TYPED, endpoint="iris")


def test_every_field_of_the_form_is_a_setting_the_specs_know() -> None:
    fields = deployment_fields(models=[], environments=[], sizes=[])
    values = {
        **{each.path: "1" for each in fields if each.kind == "number"},
        **TYPED,
        "request_settings.max_queue": "5",
    }
    spec = parse_deployment(deployment_mapping(values, endpoint="iris"), code_digest=DIGEST)
    assert spec.request.max_queue == 5


@pytest.mark.parametrize(
    "text", ["- a\n- b", "name: [", "", "x" * 200_000, "a: " + "[" * 3000, '"\\ud800": 1', "a: &x [1]\nb: *x", "a: *y"]
)
def test_what_is_no_deployment_is_refused_at_the_yaml_field(text: str) -> None:
    with pytest.raises(FieldErrors) as caught:
        read_yaml(text)
    assert list(caught.value.errors) == ["yaml"]


def test_yaml_cannot_make_objects() -> None:
    with pytest.raises(FieldErrors):
        read_yaml("name: !!python/object/apply:os.getcwd []")


def test_a_chosen_folder_loses_its_own_name() -> None:
    assert _below(["src/score.py", "src/lib/a.py"]) == ["score.py", "lib/a.py"]
    assert _below(["score.py", "src/a.py"]) == ["score.py", "src/a.py"]

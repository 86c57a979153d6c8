"""DeploymentSpec: what is right, what is said when it is not, and that the written shape comes back the same."""

from typing import Any

import pytest

from deployments.specs import DeploymentSpec, ScaleSettings, deployment_to_json, parse_deployment
from studio.errors import FieldErrors

DIGEST = "ab" * 32


def asked(**more: Any) -> dict[str, Any]:
    """The least a deployment needs."""
    return {
        "name": "amber",
        "endpoint_name": "parcel-volume",
        "environment": "forecast-cpu:4",
        "code_configuration": {"code": f"sha256:{DIGEST}", "scoring_script": "score.py"},
    } | more


def errors_of(data: dict[str, Any], **more: Any) -> dict[str, list[str]]:
    with pytest.raises(FieldErrors) as caught:
        parse_deployment(data, **more)
    return caught.value.errors


def test_the_least_gets_azures_defaults() -> None:
    spec = parse_deployment(asked())
    assert spec == DeploymentSpec(
        name="amber",
        endpoint_name="parcel-volume",
        environment="forecast-cpu:4",
        code_digest=DIGEST,
        scoring_script="score.py",
    )
    assert (spec.request.request_timeout_ms, spec.request.max_queue_wait_ms) == (5000, 500)
    assert spec.scale == ScaleSettings("target_utilization", 1, 1, 70, 60)
    assert spec.instance_type == "defaultinstancetype"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"model": "azureml:volume-gbm:7", "tags": {"team": "parcels"}, "environment_variables": {"DEPTH": 3}},
        {"scale_settings": {"min_instances": 0, "max_instances": 4, "target_utilization_percentage": 50}},
        {"scale_settings": {"type": "default"}, "instance_count": 3},
        {"request_settings": {"max_concurrent_requests_per_instance": 4, "max_queue": 0}},
        {"liveness_probe": {"period": 20}, "readiness_probe": {"failure_threshold": 5}},
    ],
)
def test_what_is_written_is_read_back_the_same(more: dict[str, Any]) -> None:
    spec = parse_deployment(asked(**more))
    assert parse_deployment(deployment_to_json(spec)) == spec


def test_all_wrong_fields_are_found_at_once() -> None:
    found = errors_of(
        asked(
            name="A",
            scale_settings={"min_instances": 3, "max_instances": 2},
            request_settings={"max_concurrent_requests_per_instance": 0},
        )
    )
    assert found == {
        "name": ["Must be 3 to 32 characters long."],
        "scale_settings.max_instances": ["Must be 3 or more."],
        "request_settings.max_concurrent_requests_per_instance": ["Must be 1 or more."],
    }


def test_azures_misspelled_key_is_an_error_that_names_the_right_one() -> None:
    found = errors_of(asked(scale_setting={"min_instances": 2}))
    assert found == {"scale_setting": ["There is no such setting. Did you mean scale_settings?"]}


def test_settings_slipway_does_not_have_are_refused_with_a_reason() -> None:
    assert "instance type" in errors_of(asked(resources={}))["resources"][0]
    assert "does not collect" in errors_of(asked(data_collector={"a": 1}))["data_collector"][0]


def test_a_count_and_a_range_exclude_each_other() -> None:
    assert "instance_count" in errors_of(asked(instance_count=2, scale_settings={"type": "target_utilization"}))
    found = errors_of(asked(instance_count=2, scale_settings={"type": "default", "max_instances": 4}))
    assert list(found) == ["scale_settings.max_instances"]


def test_a_count_alone_means_scale_type_default_as_in_azures_examples() -> None:
    spec = parse_deployment(asked(instance_count=2))
    assert (spec.scale.type, spec.instance_count, spec.replicas_at_start) == ("default", 2, 2)


def test_numbers_of_a_form_are_text_and_empty_means_left_out() -> None:
    spec = parse_deployment(asked(scale_settings={"min_instances": "2", "max_instances": ""}))
    assert (spec.scale.min_instances, spec.scale.max_instances) == (2, 2)
    assert "scale_settings.min_instances" in errors_of(asked(scale_settings={"min_instances": "two"}))


@pytest.mark.parametrize("script", ["../score.py", "/score.py", "score.txt", "a\\score.py"])
def test_a_script_outside_the_code_is_refused(script: str) -> None:
    data = asked(code_configuration={"code": f"sha256:{DIGEST}", "scoring_script": script})
    assert list(errors_of(data)) == ["code_configuration.scoring_script"]


def test_a_folder_in_a_yaml_file_needs_its_upload() -> None:
    data = asked(code_configuration={"code": "./src", "scoring_script": "score.py"})
    assert list(errors_of(data)) == ["code_configuration.code"]
    assert parse_deployment(data, code_digest=DIGEST).code_digest == DIGEST


@pytest.mark.parametrize(
    ("name", "value"), [("AZUREML_MODEL_DIR", "x"), ("WORKER_COUNT", "4"), ("1ST", "x"), ("DEBUG", True)]
)
def test_environment_variables_that_cannot_be_set_are_refused(name: str, value: Any) -> None:
    assert list(errors_of(asked(environment_variables={name: value}))) == [f"environment_variables.{name}"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Amber", "Must be lower case, because clusters accept nothing else: amber."),
        ("am--ber", "Must be letters, digits and single dashes, without a dash at the end."),
        ("amber-", "Must be letters, digits and single dashes, without a dash at the end."),
        ("1mber", "Must start with a letter."),
        ("a" * 33, "Must be 3 to 32 characters long."),
    ],
)
def test_names_are_what_a_cluster_accepts(name: str, sentence: str) -> None:
    assert errors_of(asked(name=name)) == {"name": [sentence]}


def test_the_queue_is_twice_the_slots_unless_it_is_given() -> None:
    many = asked(scale_settings={"max_instances": 10}, request_settings={"max_concurrent_requests_per_instance": 2})
    assert parse_deployment(many).queue_limit == 40
    assert parse_deployment(asked()).queue_limit == 10
    assert parse_deployment(asked(request_settings={"max_queue": 3})).queue_limit == 3


def test_a_range_from_zero_starts_with_one_replica_to_prove_itself() -> None:
    assert parse_deployment(asked(scale_settings={"min_instances": 0})).replicas_at_start == 1
    assert parse_deployment(asked(instance_count=0)).replicas_at_start == 0

"""EndpointSpec and traffic: 0 or 100 in total, one mirror, and no token modes that are not served."""

from typing import Any

import pytest

from deployments.specs import EndpointSpec, endpoint_to_json, parse_endpoint, parse_traffic
from studio.errors import FieldErrors


def errors_of(call: Any, *args: Any, **more: Any) -> dict[str, list[str]]:
    with pytest.raises(FieldErrors) as caught:
        call(*args, **more)
    return caught.value.errors


def test_an_azure_file_is_read_whatever_the_case_of_its_auth_mode() -> None:
    spec = parse_endpoint({"name": "iris", "auth_mode": "Key", "compute": "azureml:quay-prod"})
    assert spec == EndpointSpec(name="iris", compute="quay-prod")
    assert parse_endpoint(endpoint_to_json(spec)) == spec


def test_token_modes_are_refused_not_ignored() -> None:
    found = errors_of(parse_endpoint, {"name": "iris", "compute": "quay", "auth_mode": "aml_token"})
    assert found == {"auth_mode": ["Must be key: tokens are not served yet."]}


@pytest.mark.parametrize("shares", [{}, {"blue": 100}, {"blue": "90", "green": 10, "amber": 0}])
def test_shares_add_up_to_nothing_or_everything(shares: dict[str, Any]) -> None:
    traffic = parse_traffic(shares, mirror={})
    assert sum(traffic.shares.values()) in (0, 100)
    assert "amber" not in traffic.shares


def test_what_is_wrong_with_shares_is_said_where_it_is() -> None:
    assert errors_of(parse_traffic, {"blue": 60}, mirror={}) == {
        "traffic": ["Must add up to 100 (or 0, to serve nobody); it is 60."]
    }
    assert errors_of(parse_traffic, {"blue": 100}, mirror={}, known=["green"]) == {
        "traffic.blue": ["Must be a deployment of this endpoint; there is no blue."]
    }
    assert "traffic.blue" in errors_of(parse_traffic, {"blue": 101}, mirror={})


def test_a_mirror_is_one_deployment_without_traffic_and_half_at_most() -> None:
    assert dict(parse_traffic({"blue": 100}, mirror={"int8": 50}).mirror) == {"int8": 50}
    assert "mirror.int8" in errors_of(parse_traffic, {"blue": 100}, mirror={"int8": 51})
    assert "mirror.blue" in errors_of(parse_traffic, {"blue": 100}, mirror={"blue": 10})
    assert "mirror" in errors_of(parse_traffic, {"blue": 100}, mirror={"int8": 10, "int4": 10})

"""REST: the same specs, services and checks as the pages."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from deployments.models import Deployment, Endpoint
from studio.models import Workspace
from tests.deployments import world

W = "/api/v1/workspaces/harbour"
E = f"{W}/endpoints/address-match"


def put(client: Client, url: str, body: dict[str, Any]) -> Any:
    return client.put(url, body, content_type="application/json")


def test_nobody_gets_in_without_signing_in(address_match: Endpoint) -> None:
    assert Client().get(f"{W}/endpoints").status_code == 401


def test_endpoints_are_listed_worst_first(address_match: Endpoint, as_bob: Client) -> None:
    answer = as_bob.get(f"{W}/endpoints").json()
    assert answer["total"] == 1
    assert answer["endpoints"][0]["group"] == "Watch"


def test_an_endpoint_and_its_deployments_are_told(address_match: Endpoint, as_bob: Client) -> None:
    told = as_bob.get(E).json()
    assert told["traffic"] == {"blue": 80, "green": 20}
    assert told["scoring_uri"].endswith("/api/v1/endpoint/address-match/score")
    names = [each["name"] for each in as_bob.get(f"{E}/deployments").json()["deployments"]]
    assert names == ["blue", "green", "int8"]
    int8 = as_bob.get(f"{E}/deployments/int8").json()
    assert (int8["cause"], int8["replicas_ready"], int8["mirror"]) == ("PodOutOfMemory", 1, 10)


def test_no_answer_holds_a_key(address_match: Endpoint, as_bob: Client) -> None:
    values = [key.value for key in address_match.keys.all()]
    text = as_bob.get(E).content.decode() + as_bob.get(f"{W}/endpoints").content.decode()
    assert not any(value in text for value in values)


def test_a_stranger_gets_404_and_a_reader_403(
    address_match: Endpoint, charlie: User, reader: User, client_of: Callable[[User], Client]
) -> None:
    assert client_of(charlie).get(E).status_code == 404
    refused = put(client_of(reader), E, {"compute": "parcel-ops"})
    assert refused.status_code == 403
    assert "Data scientist" in refused.json()["detail"]


def test_an_endpoint_is_put_once_and_then_left_alone(workspace: Workspace, as_bob: Client) -> None:
    world.make_target(workspace)
    body = {"compute": "azureml:parcel-ops", "auth_mode": "Key"}
    assert put(as_bob, f"{W}/endpoints/iris", body).status_code == 201
    assert put(as_bob, f"{W}/endpoints/iris", body).status_code == 200
    assert Endpoint.objects.count() == 1


def test_putting_other_traffic_moves_it(address_match: Endpoint, as_bob: Client) -> None:
    answer = put(as_bob, E, {"compute": "parcel-ops", "traffic": {"blue": 100}})
    assert answer.status_code == 202
    operation = answer.json()["operation"]["id"]
    assert as_bob.get(f"{W}/operations/{operation}").json()["kind"] == "set-traffic"
    address_match.refresh_from_db()
    assert (address_match.traffic, address_match.mirror) == ({"blue": 100}, {})


def test_what_cannot_change_is_refused_by_field(address_match: Endpoint, as_bob: Client) -> None:
    answer = put(as_bob, E, {"compute": "parcel-ops", "auth_mode": "none"})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"] == {"auth_mode": ["Must stay key."]}


def test_a_deployment_is_put_with_uploaded_code(address_match: Endpoint, as_bob: Client) -> None:
    uploaded = as_bob.post(f"{W}/code", {"files": [SimpleUploadedFile("score.py", world.SCORE)]})
    assert uploaded.status_code == 201
    body = {
        "environment": "torch-cpu:4",
        "model": "address-bert:12",
        "instance_type": "cpu-1",
        "code_configuration": {"code": uploaded.json()["code"], "scoring_script": "score.py"},
    }
    answer = put(as_bob, f"{E}/deployments/amber", body)
    assert answer.status_code == 202
    assert Deployment.objects.get(name="amber").spec["instance_type"] == "cpu-1"


def test_a_wrong_deployment_is_refused_by_field(address_match: Endpoint, as_bob: Client) -> None:
    answer = put(as_bob, f"{E}/deployments/amber", {"environment": "torch-cpu:4", "resources": {}})
    assert answer.status_code == 422
    assert {"resources", "code_configuration.scoring_script"} <= set(answer.json()["errors"])
    assert not Deployment.objects.filter(name="amber").exists()


def test_a_key_is_rotated_and_told_once(address_match: Endpoint, as_bob: Client) -> None:
    before = address_match.keys.get(name="primary").value
    answer = as_bob.post(f"{E}/keys/primary/rotate")
    assert answer.status_code == 202
    assert answer.json()["key"]["value"] == address_match.keys.get(name="primary").value != before


def test_deleting_what_has_traffic_is_refused(address_match: Endpoint, as_bob: Client) -> None:
    assert as_bob.delete(f"{E}/deployments/blue").status_code == 409
    assert as_bob.delete(f"{E}/deployments/nobody").status_code == 404
    assert as_bob.delete(E).status_code == 202


def test_a_change_without_the_browsers_csrf_token_is_refused(address_match: Endpoint, bob: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    assert client.delete(E).status_code == 403
    address_match.refresh_from_db()
    assert address_match.deleting is False

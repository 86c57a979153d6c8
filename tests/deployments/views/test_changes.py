"""What people send: forms come back with what was typed and what is wrong, or do what they say."""

import io
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from deployments.artifacts.keep import keep_artifact
from deployments.artifacts.pack import CODE_LIMITS
from deployments.forms.deployment import DEFAULTS
from deployments.models import Artifact, Deployment, Endpoint, Environment, Model
from studio.models import AuditEntry, LogStream, Operation, Workspace
from studio.services.logs import open_stream
from tests.deployments import world

E = "/w/harbour/endpoints/address-match/"
TYPED = {
    **DEFAULTS,
    "name": "amber",
    "environment": "torch-cpu:4",
    "model": "address-bert:12",
    "instance_type": "cpu-2",
}


def script(name: str = "score.py", content: bytes = world.SCORE) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def test_an_endpoint_is_created_and_its_page_opens(workspace: Workspace, as_bob: Client) -> None:
    world.make_target(workspace)
    sent = {"name": "iris", "compute": "parcel-ops", "auth_mode": "key", "description": "Three irises"}
    response = as_bob.post("/w/harbour/endpoints/new", sent, follow=True)
    assert response.status_code == 200
    assert "Nothing is behind it yet." in response.content.decode()
    assert Endpoint.objects.get(name="iris").keys.count() == 2


def test_a_wrong_endpoint_comes_back_with_what_was_typed(workspace: Workspace, as_bob: Client) -> None:
    world.make_target(workspace)
    sent = {"name": "Iris", "compute": "parcel-ops", "auth_mode": "key", "description": "Three irises"}
    response = as_bob.post("/w/harbour/endpoints/new", sent)
    text = response.content.decode()
    assert response.status_code == 422
    assert 'href="#f-name"' in text
    assert 'aria-invalid="true"' in text
    assert "Three irises" in text
    assert not Endpoint.objects.exists()


def test_traffic_moves(address_match: Endpoint, as_bob: Client) -> None:
    sent = {"traffic.blue": "60", "traffic.green": "40", "traffic.int8": "", "mirror": "int8", "mirror_percent": "25"}
    assert as_bob.post(E, sent).status_code == 302
    address_match.refresh_from_db()
    assert address_match.traffic == {"blue": 60, "green": 40}
    assert address_match.mirror == {"int8": 25}
    assert Operation.objects.filter(kind="set-traffic").count() == 1


def test_traffic_that_does_not_add_up_stays_where_it_was(address_match: Endpoint, as_bob: Client) -> None:
    response = as_bob.post(E, {"traffic.blue": "60", "traffic.green": "30", "mirror": "blue", "mirror_percent": "80"})
    text = response.content.decode()
    assert response.status_code == 422
    assert "it is 90" in text
    assert "Must be 50 or less." in text
    assert 'value="60"' in text
    address_match.refresh_from_db()
    assert address_match.traffic == {"blue": 80, "green": 20}


def test_a_deployment_is_rolled_out_from_the_form(address_match: Endpoint, as_bob: Client) -> None:
    response = as_bob.post(f"{E}deployments/new", {**TYPED, "code_configuration.code": script()})
    operation = Operation.objects.get(kind="deploy")
    assert response.headers["Location"] == f"/w/harbour/operations/{operation.pk}/"
    made = Deployment.objects.get(name="amber")
    assert made.spec["scale_settings"]["max_instances"] == 3
    assert made.code is not None
    assert [file["path"] for file in made.code.files] == ["score.py"]


def test_wrong_fields_are_named_and_the_uploaded_code_is_kept(address_match: Endpoint, as_bob: Client) -> None:
    wrong = {**TYPED, "scale_settings.min_instances": "5", "scale_settings.max_instances": "2"}
    response = as_bob.post(f"{E}deployments/new", {**wrong, "code_configuration.code": script()})
    text = response.content.decode()
    assert response.status_code == 422
    assert 'href="#f-most"' in text
    assert "Must be 5 or more." in text
    assert "Kept:" in text
    digest = re.search(r'name="code_digest" value="([0-9a-f]{64})"', text)
    assert digest
    again = as_bob.post(f"{E}deployments/new", {**TYPED, "code_digest": digest[1]})
    assert again.status_code == 302
    assert Deployment.objects.get(name="amber").code_id == digest[1]


def test_anothers_code_is_not_taken_by_its_digest(address_match: Endpoint, as_bob: Client) -> None:
    theirs = keep_artifact(
        Workspace.objects.create(name="elsewhere"),
        files=[("score.py", io.BytesIO(b"their secret"))],
        limits=CODE_LIMITS,
        field="code",
    )
    response = as_bob.post(f"{E}deployments/new", {**TYPED, "code_digest": theirs.digest})
    assert response.status_code == 422
    assert "Kept:" not in response.content.decode()


def ended_rollout(deployment: Deployment, *, state: str) -> str:
    """The page of the newest rollout of a deployment, which ended so."""
    operation = Operation.objects.create(
        workspace=deployment.endpoint.workspace,
        kind="deploy",
        title="Deploy",
        subject_kind="deployment",
        subject_id=str(deployment.pk),
        params={"deployment": deployment.pk, "revision": deployment.revision},
        state=state,
    )
    open_stream(operation.workspace, key=f"operation/{operation.pk}", label="Deploy")
    LogStream.objects.filter(key=f"operation/{operation.pk}").update(operation=operation)
    return f"/w/harbour/operations/{operation.pk}/"


def test_a_failed_rollout_can_be_changed_and_deployed_again(address_match: Endpoint, as_bob: Client) -> None:
    blue = Deployment.objects.get(name="blue")
    text = as_bob.get(ended_rollout(blue, state="failed")).content.decode()
    assert f'href="{E}deployments/blue/edit"' in text
    assert f'action="{E}deployments/blue/again"' in text
    answer = as_bob.post(f"{E}deployments/blue/again", {"revision": "1"})
    again = Operation.objects.get(kind="deploy", state="waiting")
    assert answer.headers["Location"] == f"/w/harbour/operations/{again.pk}/"
    blue.refresh_from_db()
    assert (blue.revision, again.params["revision"]) == (2, 2)


def test_what_an_older_rollout_would_offer_is_not_offered(address_match: Endpoint, as_bob: Client) -> None:
    blue = Deployment.objects.get(name="blue")
    url = ended_rollout(blue, state="failed")
    Deployment.objects.filter(pk=blue.pk).update(revision=2)
    assert "deployments/blue/again" not in as_bob.get(url).content.decode()


def test_a_revision_that_works_can_be_rolled_back_to_the_one_before(address_match: Endpoint, as_bob: Client) -> None:
    blue = Deployment.objects.get(name="blue")
    assert "Roll back" not in as_bob.get(E).content.decode()
    Deployment.objects.filter(pk=blue.pk).update(revision=2, applied_revision=2)
    blue.revisions.create(number=2, spec=blue.spec, succeeded=True)
    blue.refresh_from_db()
    for url in (E, ended_rollout(blue, state="succeeded")):
        assert "Roll back to revision 1" in as_bob.get(url).content.decode()
    as_bob.post(f"{E}deployments/blue/again", {"revision": "1"})
    assert Deployment.objects.get(name="blue").revision == 3


@pytest.mark.parametrize("revision", ["", "x", "-1", "9" * 30, "²"])
def test_what_is_no_revision_is_not_deployed(revision: str, address_match: Endpoint, as_bob: Client) -> None:
    assert as_bob.post(f"{E}deployments/blue/again", {"revision": revision}).status_code == 404
    assert not Operation.objects.exists()


def test_the_history_tells_what_changed_of_the_endpoint_and_its_deployments(
    address_match: Endpoint, as_bob: Client
) -> None:
    blue = Deployment.objects.get(name="blue")
    sent = {"traffic.blue": "60", "traffic.green": "40"}
    as_bob.post(E, sent)
    asked = {**TYPED, "code_digest": blue.code_id}
    assert as_bob.post(f"{E}deployments/blue/edit", asked).status_code == 302
    Operation.objects.update(state="succeeded")
    as_bob.post(f"{E}deployments/blue/edit", asked | {"scale_settings.max_instances": "5"})
    as_bob.post(f"{E}keys/primary/show")
    text = as_bob.get(f"{E}history/").content.decode()
    assert "moved traffic" in text
    assert "blue 80 %, green 20 %, mirror int8 10 %, now blue 60 %, green 40 %" in text
    assert "deployed blue, revision 3" in text
    assert "<p>max instances 3 to 5</p>" in text  # what it was before is not what it is now
    assert "looked at the primary key" in text


def test_a_folder_keeps_its_paths(address_match: Endpoint, as_bob: Client) -> None:
    files = [script(), script("shapes.py", b"SIDES = 4\n")]
    paths = ["src/score.py", "src/lib/shapes.py"]
    as_bob.post(
        f"{E}deployments/new", {**TYPED, "code_configuration.code": files, "code_configuration.code_paths": paths}
    )
    code = Deployment.objects.get(name="amber").code
    assert code is not None
    assert [file["path"] for file in code.files] == ["lib/shapes.py", "score.py"]


def test_a_path_that_escapes_is_refused_at_the_code(address_match: Endpoint, as_bob: Client) -> None:
    response = as_bob.post(
        f"{E}deployments/new",
        {**TYPED, "code_configuration.code": script(), "code_configuration.code_paths": ["../../etc/score.py"]},
    )
    assert response.status_code == 422
    assert 'href="#f-code"' in response.content.decode()
    assert not Deployment.objects.filter(name="amber").exists()


def test_checking_changes_nothing(address_match: Endpoint, as_bob: Client) -> None:
    response = as_bob.post(f"{E}deployments/new", {**TYPED, "code_configuration.code": script(), "wish": "check"})
    assert "This can be deployed" in response.content.decode()
    assert not Deployment.objects.filter(name="amber").exists()
    assert not Operation.objects.exists()


def test_the_sizing_fills_the_form(address_match: Endpoint, as_bob: Client) -> None:
    sent = {**TYPED, "sizing_rps": "20", "sizing_ms": "10000", "wish": "take"}
    text = as_bob.post(f"{E}deployments/new", sent).content.decode()
    assert re.search(r'name="scale_settings.min_instances" value="286"', text)
    assert 'value="amber"' in text


def test_an_edit_is_the_next_revision(address_match: Endpoint, as_bob: Client) -> None:
    blue = Deployment.objects.get(name="blue")
    page = as_bob.get(f"{E}deployments/blue/edit").content.decode()
    assert 'value="8"' in page
    sent = {**TYPED, "name": "ignored", "code_digest": blue.code_id, "request_settings.request_timeout_ms": "9000"}
    assert as_bob.post(f"{E}deployments/blue/edit", sent).status_code == 302
    blue.refresh_from_db()
    assert (blue.revision, blue.spec["request_settings"]["request_timeout_ms"]) == (2, 9000)
    assert not Deployment.objects.filter(name="ignored").exists()


def test_yaml_is_deployed_as_the_form_is(address_match: Endpoint, as_bob: Client) -> None:
    text = (
        "name: amber\nmodel: azureml:address-bert:12\nenvironment: azureml:torch-cpu:4\n"
        "code_configuration: {code: ./src, scoring_script: score.py}\ninstance_type: cpu-1\n"
        "scale_settings: {type: target_utilization, min_instances: 1, max_instances: 4}\n"
    )
    response = as_bob.post(f"{E}deployments/new?yaml=", {"yaml": text, "code_configuration.code": script()})
    assert response.status_code == 302
    assert Deployment.objects.get(name="amber").spec["instance_type"] == "cpu-1"


def test_a_wrong_key_of_the_yaml_is_named(address_match: Endpoint, as_bob: Client) -> None:
    text = "name: amber\nenvironment: torch-cpu:4\nscale_setting: {max_instances: 2}\n"
    response = as_bob.post(f"{E}deployments/new?yaml=", {"yaml": text, "code_configuration.code": script()})
    said = response.content.decode()
    assert response.status_code == 422
    assert "scale_setting" in said
    assert "Did you mean scale_settings?" in said


def test_a_deployment_with_traffic_is_not_deleted(address_match: Endpoint, as_bob: Client) -> None:
    response = as_bob.post(f"{E}deployments/blue/delete")
    assert response.status_code == 409
    assert Deployment.objects.get(name="blue").deleting is False


def test_an_endpoint_is_deleted_through_an_operation(address_match: Endpoint, as_bob: Client) -> None:
    response = as_bob.post(f"{E}delete")
    operation = Operation.objects.get(kind="delete-endpoint")
    assert response.headers["Location"] == f"/w/harbour/operations/{operation.pk}/"
    assert "Being deleted." in as_bob.get(E).content.decode()


def test_a_key_is_shown_on_demand_and_that_is_audited(address_match: Endpoint, as_bob: Client) -> None:
    key = address_match.keys.get(name="primary")
    assert key.value not in as_bob.get(f"{E}consume/").content.decode()
    response = as_bob.post(f"{E}keys/primary/show")
    text = response.content.decode()
    assert key.value in text
    assert address_match.keys.get(name="secondary").value not in text
    assert response.headers["Cache-Control"] == "no-store"
    entry = AuditEntry.objects.get(action="key.show")
    assert (entry.actor_name, entry.after) == ("bob", {"key": "primary"})


def test_a_rotated_key_has_another_value(address_match: Endpoint, as_bob: Client) -> None:
    before = address_match.keys.get(name="primary").value
    response = as_bob.post(f"{E}keys/primary/rotate")
    assert response.headers["Location"].startswith("/w/harbour/operations/")
    assert address_match.keys.get(name="primary").value != before
    assert as_bob.post(f"{E}keys/tertiary/rotate").status_code == 404


def test_a_model_is_registered_from_a_folder(workspace: Workspace, as_bob: Client) -> None:
    files = [SimpleUploadedFile("model.pkl", b"weights"), SimpleUploadedFile("vocab.json", b"{}")]
    sent = {"name": "bert", "files": files, "files_paths": ["out/model.pkl", "out/text/vocab.json"], "tags": "a=b"}
    response = as_bob.post("/w/harbour/models/new", sent)
    assert response.headers["Location"] == "/w/harbour/models/bert/1/"
    made = Model.objects.get()
    assert [file["path"] for file in made.artifact.files] == ["model.pkl", "text/vocab.json"]
    assert made.tags == {"a": "b"}


def test_a_model_without_files_is_refused_at_the_files(workspace: Workspace, as_bob: Client) -> None:
    response = as_bob.post("/w/harbour/models/new", {"name": "bert"})
    assert response.status_code == 422
    assert 'href="#f-files"' in response.content.decode()
    assert not Artifact.objects.exists()


def test_an_environment_is_registered_from_packages(workspace: Workspace, as_bob: Client) -> None:
    sent = {"name": "torch", "kind": "requirements", "requirements": "torch==2.9.1", "image": "left/over:1"}
    assert as_bob.post("/w/harbour/environments/new", sent).status_code == 302
    made = Environment.objects.get()
    assert (made.image, made.requirements) == ("", "torch==2.9.1")


def test_a_package_that_is_none_is_refused_at_the_packages(workspace: Workspace, as_bob: Client) -> None:
    response = as_bob.post(
        "/w/harbour/environments/new", {"name": "torch", "kind": "requirements", "requirements": "-e ."}
    )
    assert response.status_code == 422
    assert 'href="#f-requirements"' in response.content.decode()


@pytest.mark.parametrize("body", ['{"a": 1}', "not json"])
def test_a_test_request_that_cannot_be_sent_says_why(body: str, address_match: Endpoint, as_bob: Client) -> None:
    response = as_bob.post(f"{E}test/", {"body": body})
    text = response.content.decode()
    assert response.status_code == 200
    assert "address-match could not be called." in text or "No router of cluster" in text
    assert "not json" in text or "&quot;a&quot;" in text


def test_logs_of_another_workspace_are_not_read(address_match: Endpoint, as_bob: Client) -> None:
    other = world.make_address_match(Workspace.objects.create(name="far"), now=timezone.now())
    stream = world.log(other.deployments.get(name="blue"), replica="far-1", now=timezone.now())
    assert as_bob.get(f"{E}logs/?stream={stream.pk}").status_code == 404


@pytest.mark.parametrize("fewest", ["²", "9" * 40, "-1"])
def test_a_number_that_is_none_is_said_at_its_field(fewest: str, address_match: Endpoint, as_bob: Client) -> None:
    sent = {**TYPED, "code_configuration.code": script(), "scale_settings.min_instances": fewest}
    response = as_bob.post(f"{E}deployments/new", sent)
    assert response.status_code == 422
    assert 'href="#f-fewest"' in response.content.decode()

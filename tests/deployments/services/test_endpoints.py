"""Endpoints, keys, traffic, deployments: what is written, what is refused, and what is started."""

import io
from typing import Any

import pytest
from django.db import connection

from clusters.models import ComputeTarget, RouterState
from deployments.models import Deployment, DeploymentRevision, Endpoint, EndpointKey
from deployments.services import (
    create_endpoint,
    delete_deployment,
    delete_endpoint,
    deploy,
    deploy_again,
    pack_code,
    register_environment,
    rotate_key,
    set_traffic,
)
from deployments.services.busy import BusyError
from deployments.specs import DeploymentSpec, EndpointSpec, parse_deployment
from routerd.contract import key_hash
from studio.actor import Actor
from studio.errors import FieldErrors, SlipwayError
from studio.models import AuditEntry, Operation, OperationState, Workspace

pytestmark = pytest.mark.django_db


def spec_of(endpoint: Endpoint, code: str, **more: Any) -> DeploymentSpec:
    asked = {
        "name": "blue",
        "endpoint_name": endpoint.name,
        "model": "iris:1",
        "environment": "bare:1",
        "code_configuration": {"scoring_script": "score.py"},
    }
    return parse_deployment(asked | more, code_digest=code)


def errors_of(call: Any, *args: Any, **more: Any) -> dict[str, list[str]]:
    with pytest.raises(FieldErrors) as caught:
        call(*args, **more)
    return caught.value.errors


def end(operation: Operation) -> None:
    Operation.objects.filter(pk=operation.pk).update(state=OperationState.SUCCEEDED)


def test_an_endpoint_gets_two_different_keys_of_256_bits_kept_encrypted(endpoint: Endpoint) -> None:
    keys = list(EndpointKey.objects.filter(endpoint=endpoint))
    assert [key.name for key in keys] == ["primary", "secondary"]
    assert len({key.value for key in keys}) == 2
    assert all(len(key.value) == 43 and key.sha256 == key_hash(key.value) for key in keys)
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM deployments_endpointkey")
        stored = str(cursor.fetchall())
    assert not any(key.value in stored for key in keys)


def test_knowing_a_digest_is_no_right_to_deploy_the_code(endpoint: Endpoint, registered: str, actor: Actor) -> None:
    other = Workspace.objects.create(name="elsewhere")
    theirs = pack_code(other, files=[("score.py", io.BytesIO(b"their secret"))], actor=actor).digest
    errors = errors_of(deploy, endpoint, spec=spec_of(endpoint, theirs), actor=actor)
    assert errors == {"code_configuration.code": ["Must be uploaded; harbour does not have these files."]}
    assert not Deployment.objects.exists()


def test_an_earlier_revision_is_rolled_out_again_as_the_next_one(
    endpoint: Endpoint, registered: str, actor: Actor
) -> None:
    blue, first = deploy(endpoint, spec=spec_of(endpoint, registered, tags={"n": "1"}), actor=actor)
    end(first)
    _, second = deploy(endpoint, spec=spec_of(endpoint, registered, tags={"n": "2"}), actor=actor)
    end(second)
    blue.refresh_from_db()
    deploy_again(blue, revision=1, actor=actor)
    blue.refresh_from_db()
    assert (blue.revision, blue.spec["tags"]) == (3, {"n": "1"})
    with pytest.raises(SlipwayError, match="has no revision 9"):
        deploy_again(blue, revision=9, actor=actor)


def test_a_name_is_taken_in_the_whole_cluster_whoever_attached_it(endpoint: Endpoint, actor: Actor) -> None:
    other = Workspace.objects.create(name="elsewhere")
    cluster = endpoint.target.cluster
    cluster.pk, cluster.workspace = None, other
    cluster.save()
    target = ComputeTarget.objects.create(workspace=other, cluster=cluster, name="theirs", namespace="theirs")
    spec = EndpointSpec(name="iris", compute="theirs")
    assert (
        "taken on cluster quay" in errors_of(create_endpoint, other, spec=spec, target=target, actor=actor)["name"][0]
    )


def test_rotating_changes_one_key_counts_up_and_writes_no_secret_down(endpoint: Endpoint, actor: Actor) -> None:
    before = {key.name: key.value for key in endpoint.keys.all()}
    key, operation = rotate_key(endpoint, name="primary", actor=actor)
    endpoint.refresh_from_db()
    assert endpoint.key_revision == 2
    assert operation.params["key_revision"] == 2
    assert key.value != before["primary"]
    assert endpoint.keys.get(name="secondary").value == before["secondary"]
    written = str(list(AuditEntry.objects.values())) + str(operation.params)
    assert key.value not in written
    assert key.sha256 not in written
    assert "name" in errors_of(rotate_key, endpoint, name="third", actor=actor)


def test_deploying_writes_a_revision_and_starts_an_operation(endpoint: Endpoint, registered: str, actor: Actor) -> None:
    deployment, operation = deploy(endpoint, spec=spec_of(endpoint, registered), actor=actor)
    assert (deployment.revision, deployment.applied_revision) == (1, 0)
    assert operation.params == {"deployment": deployment.pk, "revision": 1}
    assert [step.title for step in operation.steps.all()] == [
        *("Image", "Artifacts", "Apply", "Schedule", "Fetch model", "Pull image", "init()", "Probes", "Traffic"),
    ]
    end(operation)
    again, _ = deploy(endpoint, spec=spec_of(endpoint, registered), actor=actor)
    assert (again.pk, again.revision) == (deployment.pk, 2)
    assert DeploymentRevision.objects.filter(deployment=deployment).count() == 2


def test_what_a_spec_names_has_to_be_there(endpoint: Endpoint, registered: str, actor: Actor) -> None:
    spec = spec_of(
        endpoint,
        "cd" * 32,
        model="iris:9",
        environment="bare:9",
        endpoint_name="rose",
        instance_type="gpu-1",
    )
    assert set(errors_of(deploy, endpoint, spec=spec, actor=actor)) == {
        "endpoint_name",
        "model",
        "environment",
        "code_configuration.code",
        "instance_type",
    }
    missing = spec_of(endpoint, registered, code_configuration={"scoring_script": "main.py"})
    found = errors_of(deploy, endpoint, spec=missing, actor=actor)
    assert found == {"code_configuration.scoring_script": ["Must be one of the uploaded .py files: score.py."]}
    assert not Deployment.objects.exists()


def test_values_of_environment_variables_are_not_audited(endpoint: Endpoint, registered: str, actor: Actor) -> None:
    spec = spec_of(endpoint, registered, environment_variables={"TOKEN": "hush"})
    deploy(endpoint, spec=spec, actor=actor)
    entry = AuditEntry.objects.get(action="deployment.deploy")
    assert entry.after is not None
    assert entry.after["environment_variables"] == ["TOKEN"]
    assert "hush" not in str(entry.after)


def test_an_image_is_refused_where_replicas_are_processes(
    workspace: Workspace, endpoint: Endpoint, registered: str, actor: Actor
) -> None:
    register_environment(workspace, name="ours", image="registry/x:1", actor=actor)
    found = errors_of(deploy, endpoint, spec=spec_of(endpoint, registered, environment="ours:1"), actor=actor)
    assert "has no images" in found["environment"][0]


def test_one_rollout_of_a_deployment_at_a_time(endpoint: Endpoint, registered: str, actor: Actor) -> None:
    deployment, _ = deploy(endpoint, spec=spec_of(endpoint, registered), actor=actor)
    with pytest.raises(BusyError, match="is being changed: Deploy blue to iris"):
        deploy(endpoint, spec=spec_of(endpoint, registered), actor=actor)
    with pytest.raises(BusyError):
        delete_deployment(deployment, actor=actor)
    with pytest.raises(BusyError):
        delete_endpoint(endpoint, actor=actor)
    assert Deployment.objects.get().revision == 1


def test_without_a_router_nothing_is_deployed(endpoint: Endpoint, registered: str, actor: Actor) -> None:
    endpoint.target.cluster.router_state = RouterState.ABSENT
    endpoint.target.cluster.save()
    with pytest.raises(SlipwayError, match="no router on cluster quay"):
        deploy(endpoint, spec=spec_of(endpoint, registered), actor=actor)


def proven(endpoint: Endpoint, code: str, actor: Actor, *, name: str = "blue") -> Deployment:
    deployment, operation = deploy(endpoint, spec=spec_of(endpoint, code, name=name), actor=actor)
    end(operation)
    DeploymentRevision.objects.filter(deployment=deployment).update(succeeded=True)
    Deployment.objects.filter(pk=deployment.pk).update(applied_revision=1)
    return deployment


def test_traffic_goes_only_to_what_has_proved_itself(endpoint: Endpoint, registered: str, actor: Actor) -> None:
    deployment, _ = deploy(endpoint, spec=spec_of(endpoint, registered), actor=actor)
    found = errors_of(set_traffic, endpoint, traffic={"blue": 100}, mirror={}, actor=actor)
    assert found == {"traffic.blue": ["Must be a deployment that runs; blue does not yet."]}
    DeploymentRevision.objects.filter(deployment=deployment).update(succeeded=True)
    Deployment.objects.filter(pk=deployment.pk).update(applied_revision=1)
    operation = set_traffic(endpoint, traffic={"blue": "100"}, mirror={}, actor=actor)
    endpoint.refresh_from_db()
    assert endpoint.traffic == {"blue": 100}
    assert operation.title == "Move traffic of iris: blue 100 %"


def test_a_deployment_with_traffic_is_not_deleted(endpoint: Endpoint, registered: str, actor: Actor) -> None:
    deployment = proven(endpoint, registered, actor)
    end(set_traffic(endpoint, traffic={"blue": 100}, mirror={}, actor=actor))
    with pytest.raises(BusyError, match="has 100 % of the traffic"):
        delete_deployment(deployment, actor=actor)
    end(set_traffic(endpoint, traffic={}, mirror={}, actor=actor))
    assert delete_deployment(deployment, actor=actor).kind == "delete-deployment"


def test_an_endpoint_that_is_being_deleted_takes_no_more_changes(
    endpoint: Endpoint, registered: str, actor: Actor
) -> None:
    delete_endpoint(endpoint, actor=actor)
    for change in (
        lambda: deploy(endpoint, spec=spec_of(endpoint, registered), actor=actor),
        lambda: set_traffic(endpoint, traffic={}, mirror={}, actor=actor),
        lambda: rotate_key(endpoint, name="primary", actor=actor),
        lambda: delete_endpoint(endpoint, actor=actor),
    ):
        with pytest.raises(BusyError, match="is being deleted"):
            change()

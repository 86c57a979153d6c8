"""What is applied: digests only, no privileges, and a replica count only where it is ours to say."""

import json
from typing import Any

from deployments.manifests import (
    EndpointShape,
    Placement,
    RoutedDeployment,
    deployment_objects,
    online_endpoint,
)
from deployments.specs import DeploymentSpec, parse_deployment
from routerd import contract

CODE, MODEL = "ab" * 32, "cd" * 32
PLACEMENT = Placement(
    studio="11111111-2222-3333-4444-555555555555",
    namespace="parcels",
    revision=3,
    image="registry/forecast:4",
    slipway_image="registry/slipway:1",
    download_token="secret-token",
    model_digest=MODEL,
    requests={"cpu": "2", "memory": "4Gi"},
    limits={"cpu": "4", "memory": "4Gi"},
)


def spec_of(**more: Any) -> DeploymentSpec:
    return parse_deployment(
        {
            "name": "blue",
            "endpoint_name": "parcel-volume",
            "environment": "forecast:4",
            "model": "volume-gbm:7",
            "code_configuration": {"scoring_script": "src/score.py"},
        }
        | more,
        code_digest=CODE,
    )


def objects(spec: DeploymentSpec | None = None, *, replicas: int | None = None) -> dict[str, dict[str, Any]]:
    made = deployment_objects(spec or spec_of(), placement=PLACEMENT, replicas=replicas)
    return {obj["kind"]: obj for obj in made}


def pod_of(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = found["Deployment"]["spec"]["template"]["spec"]
    return pod


def server_of(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    container: dict[str, Any] = pod_of(found)["containers"][0]
    return container


def test_all_objects_share_name_namespace_and_labels() -> None:
    for obj in objects().values():
        assert obj["metadata"]["name"] == "parcel-volume--blue"
        assert obj["metadata"]["namespace"] == "parcels"
        assert obj["metadata"]["labels"][contract.STUDIO] == PLACEMENT.studio
        assert obj["metadata"]["labels"][contract.DEPLOYMENT] == "blue"


def test_a_pod_has_no_privileges_and_no_token_of_the_cluster() -> None:
    pod = pod_of(objects())
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"] == {
            "requests": {"cpu": "2", "memory": "4Gi"},
            "limits": {"cpu": "4", "memory": "4Gi"},
        }


def test_the_template_names_model_and_code_by_digest_and_holds_no_secret() -> None:
    found = objects()
    template = json.dumps(found["Deployment"])
    assert CODE in template
    assert MODEL in template
    assert "secret-token" not in template
    assert pod_of(found)["initContainers"][0]["args"] == [
        *("fetch", "--digest", CODE, "--to", "/var/azureml-app/code", "--name", "code"),
        *("--digest", MODEL, "--to", "/var/azureml-app/azureml-models/volume-gbm/7", "--name", "volume-gbm:7"),
    ]


def test_an_unchanged_deployment_has_an_unchanged_template() -> None:
    assert objects() == objects()


def test_replicas_are_written_only_when_they_are_ours_to_say() -> None:
    assert "replicas" not in objects(replicas=None)["Deployment"]["spec"]
    assert objects(replicas=3)["Deployment"]["spec"]["replicas"] == 3


def test_no_replica_goes_before_a_new_one_is_ready_and_each_drains() -> None:
    found = objects()
    strategy = found["Deployment"]["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert server_of(found)["lifecycle"] == {"preStop": {"exec": {"command": ["sleep", "5"]}}}
    assert pod_of(found)["terminationGracePeriodSeconds"] >= 5 + 5


def test_a_busy_worker_is_not_taken_for_a_dead_one() -> None:
    server = server_of(objects())
    assert server["startupProbe"]["httpGet"] == {"path": "/", "port": 5001}
    assert server["startupProbe"]["periodSeconds"] == 1
    assert "tcpSocket" in server["readinessProbe"]
    assert "tcpSocket" in server["livenessProbe"]


def test_threads_are_as_many_as_requests_at_once() -> None:
    assert "--threads" not in server_of(objects())["args"]
    arguments = server_of(objects(spec_of(request_settings={"max_concurrent_requests_per_instance": 4})))["args"]
    assert arguments[arguments.index("--threads") + 1] == "4"
    assert arguments[:2] == ["--bind", "$(POD_IP):5001"]


def test_a_worker_may_be_silent_longer_than_a_request_may_take() -> None:
    def timeout(**more: Any) -> int:
        arguments = server_of(objects(spec_of(**more)))["args"]
        return int(arguments[arguments.index("--timeout") + 1])

    assert timeout() == 300
    assert timeout(request_settings={"request_timeout_ms": 300_000}) == 330
    assert timeout(environment_variables={"WORKER_TIMEOUT": "900"}) == 900


def test_the_script_is_found_where_azure_puts_it() -> None:
    variables = {each["name"]: each.get("value") for each in server_of(objects())["env"]}
    assert variables["AML_APP_ROOT"] == "/var/azureml-app/code"
    assert variables["AZUREML_ENTRY_SCRIPT"] == "src/score.py"
    assert variables["AZUREML_MODEL_DIR"] == "/var/azureml-app/azureml-models/volume-gbm/7"


def test_only_routers_may_call_a_replica() -> None:
    (rule,) = objects()["NetworkPolicy"]["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "slipway-system"}
    assert peer["podSelector"]["matchLabels"] == {contract.APP_NAME: "routerd"}


SHAPE = EndpointShape(
    studio=PLACEMENT.studio,
    namespace="parcels",
    name="parcel-volume",
    auth_mode="key",
    key_revision=7,
    key_hashes={"secondary": "b" * 64, "primary": "a" * 64},
    traffic={"blue": 90, "green": 10},
    mirror={},
)


def test_routers_learn_all_they_need_and_no_key() -> None:
    made = online_endpoint(SHAPE, deployments=[RoutedDeployment(spec_of()), RoutedDeployment(spec_of(name="green"))])
    assert made["spec"]["auth"] == {
        "mode": "key",
        "keyRevision": 7,
        "keys": [{"name": "primary", "sha256": "a" * 64}, {"name": "secondary", "sha256": "b" * 64}],
    }
    assert made["spec"]["traffic"] == {"blue": 90, "green": 10}
    assert made["spec"]["deployments"][0] == {
        "name": "blue",
        "service": "parcel-volume--blue",
        "workload": "parcel-volume--blue",
        "maxConcurrentRequestsPerInstance": 1,
        "maxQueue": 10,
        "maxQueueWaitMs": 500,
        "requestTimeoutMs": 5000,
        "scale": {"mode": "auto", "min": 1, "max": 1, "targetUtilization": 70, "scaleDownDelaySeconds": 60},
    }


def test_traffic_to_what_is_not_in_the_cluster_is_left_out() -> None:
    assert online_endpoint(SHAPE, deployments=[RoutedDeployment(spec_of())])["spec"]["traffic"] == {"blue": 90}


def test_a_fixed_count_is_never_the_routers() -> None:
    made = online_endpoint(SHAPE, deployments=[RoutedDeployment(spec_of(instance_count=2))])
    assert made["spec"]["deployments"][0]["scale"] == {"mode": "fixed", "min": 2, "max": 2}

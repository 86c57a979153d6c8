"""The shape of what is put into a cluster: pure."""

from typing import Any

import pytest

from clusters.install import manifests, workloads
from clusters.install.settings import RouterSettings, check_settings, from_json, known_address, to_json
from clusters.kube.kinds import kind_of
from routerd import contract
from routerd.settings import read_settings
from studio.errors import FieldErrors

STUDIO = "11111111-2222-3333-4444-555555555555"
SETTINGS = RouterSettings(image="registry.example.org/slipway:0.1.0", replicas=3)
SECRETS = manifests.Secrets(admin_token="a", upload_token="b", signing_key="c")


def everything(settings: RouterSettings = SETTINGS, *, storage: bool = True) -> list[dict[str, Any]]:
    return [
        manifests.namespace(contract.SYSTEM_NAMESPACE, studio=STUDIO),
        *manifests.definitions(studio=STUDIO),
        *manifests.rights(studio=STUDIO, targets=["b", "a"]),
        manifests.admin_secret(SECRETS, studio=STUDIO),
        manifests.artifacts_secret(SECRETS, studio=STUDIO),
        manifests.targets_config_map(["b", "a", "b"], studio=STUDIO),
        *workloads.router(settings, studio=STUDIO, address=""),
        *workloads.artifacts(settings, studio=STUDIO, storage=storage),
    ]


def only(kind: str, name: str, settings: RouterSettings = SETTINGS, *, storage: bool = True) -> dict[str, Any]:
    every = everything(settings, storage=storage)
    found = [each for each in every if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1
    return found[0]


def test_every_object_says_which_studio_made_it_and_is_of_a_known_kind() -> None:
    for each in everything():
        assert each["metadata"]["labels"][contract.STUDIO] == STUDIO
        assert each["metadata"]["labels"][contract.MANAGED_BY] == "slipway"
        assert kind_of(each).namespaced == ("namespace" in each["metadata"])


def test_no_object_is_made_twice() -> None:
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in everything()]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("app", [contract.ROUTER, contract.ARTIFACTS])
def test_pods_follow_the_restricted_rules(app: str) -> None:
    pod = only("Deployment", app)["spec"]["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]) == {"requests", "limits"}
    assert not any("hostPath" in volume for volume in pod["volumes"])
    labels = manifests.namespace("x", studio=STUDIO)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_router_understands_every_variable_it_is_given() -> None:
    container = only("Deployment", contract.ROUTER)["spec"]["template"]["spec"]["containers"][0]
    environ = {each["name"]: each.get("value", "10.0.0.7") for each in container["env"]}

    settings = read_settings([], environ=environ)

    assert settings.bind == "10.0.0.7"
    assert str(settings.run_dir) == "/run/slipway"
    assert settings.admin_port == contract.ADMIN_PORT
    assert str(settings.admin_token_file) == "/etc/slipway/admin/token"


def test_a_new_router_pod_is_ready_before_an_old_one_goes() -> None:
    workload = only("Deployment", contract.ROUTER)["spec"]

    assert workload["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    container = workload["template"]["spec"]["containers"][0]
    assert container["readinessProbe"]["httpGet"] == {"path": contract.ADMIN_READYZ, "port": "admin"}
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] > 0
    assert only("PodDisruptionBudget", contract.ROUTER)["spec"]["maxUnavailable"] == 1


def test_a_router_pod_that_ends_has_time_for_the_longest_request() -> None:
    pod = only("Deployment", contract.ROUTER)["spec"]["template"]["spec"]
    environ = {each["name"]: each.get("value", "10.0.0.7") for each in pod["containers"][0]["env"]}
    settings = read_settings([], environ=environ)
    pre_stop = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert settings.grace_seconds >= 360  # a minute in the queue, five at the model
    assert pod["terminationGracePeriodSeconds"] > pre_stop + settings.drain_seconds + settings.grace_seconds + 10


def test_the_router_reads_no_secret_but_its_certificate_and_nothing_cluster_wide() -> None:
    roles = [each for each in everything() if each["kind"] in ("Role", "ClusterRole")]
    secrets = [rule for role in roles for rule in role["rules"] if "secrets" in rule["resources"]]

    assert [(rule["resourceNames"], rule["verbs"]) for rule in secrets] == [(["slipway-tls"], ["get", "list", "watch"])]
    assert not any(each["kind"] == "ClusterRoleBinding" for each in everything())
    assert not any("*" in rule["verbs"] or "*" in rule["resources"] for role in roles for rule in role["rules"])


def test_the_router_may_find_the_other_routers_in_its_own_namespace() -> None:
    rules = only("Role", contract.ROUTER)["rules"]
    slices = [rule for rule in rules if "endpointslices" in rule["resources"]]
    container = only("Deployment", contract.ROUTER)["spec"]["template"]["spec"]["containers"][0]

    assert [(rule["apiGroups"], rule["verbs"]) for rule in slices] == [(["discovery.k8s.io"], ["get", "list", "watch"])]
    assert {"name": "peers", "containerPort": contract.PEER_PORT} in container["ports"]
    assert {"name": "ROUTERD_PEER_PORT", "value": str(contract.PEER_PORT)} in container["env"]
    for service in (contract.ROUTER, contract.ROUTER_SERVICE):  # it is no way in for anybody else
        assert contract.PEER_PORT not in [port["port"] for port in only("Service", service)["spec"]["ports"]]


def test_private_callers_have_a_service_of_their_own_inside_the_cluster() -> None:
    service = only("Service", contract.PRIVATE_SERVICE)["spec"]
    container = only("Deployment", contract.ROUTER)["spec"]["template"]["spec"]["containers"][0]

    assert (service["type"], service["ports"][0]["targetPort"]) == ("ClusterIP", "private")
    assert {"name": "private", "containerPort": contract.PRIVATE_PORT} in container["ports"]
    assert "private" not in [port["targetPort"] for port in only("Service", contract.ROUTER_SERVICE)["spec"]["ports"]]


def test_with_certificates_the_router_listens_with_tls_and_may_read_them_and_no_other_secret() -> None:
    settings = RouterSettings(image="x", tls_secrets="slipway-tls example-com", plain_http="redirect")
    objects = [
        *manifests.rights(studio=STUDIO, targets=[], tls=settings.certificates()),
        *workloads.router(settings, studio=STUDIO, address=""),
    ]
    by_kind = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    rules = by_kind["Role", contract.ROUTER]["rules"]
    container = by_kind["Deployment", contract.ROUTER]["spec"]["template"]["spec"]["containers"][0]
    environ = {each["name"]: each.get("value", "10.0.0.7") for each in container["env"]}
    ports = by_kind["Service", contract.ROUTER_SERVICE]["spec"]["ports"]

    assert [rule["resourceNames"] for rule in rules if "secrets" in rule["resources"]] == [
        ["example-com", "slipway-tls"]
    ]
    assert [(port["port"], port["targetPort"]) for port in ports] == [(80, "http"), (443, "https")]
    understood = read_settings([], environ=environ)
    assert understood.tls_secrets == ("slipway-tls", "example-com")
    assert (understood.tls_port, understood.plain_http) == (contract.TLS_PORT, "redirect")


def test_the_router_is_bound_in_each_target_namespace() -> None:
    bindings = [each for each in everything() if each["kind"] == "RoleBinding"]

    assert [each["metadata"]["namespace"] for each in bindings] == [contract.SYSTEM_NAMESPACE, "a", "b"]
    assert only("ConfigMap", contract.TARGETS_CONFIGMAP)["data"] == {"namespaces": "a\nb"}


def test_the_cache_lies_on_a_volume_only_where_there_is_one() -> None:
    with_volume = only("Deployment", contract.ARTIFACTS)["spec"]["template"]["spec"]["volumes"][0]
    without = only("Deployment", contract.ARTIFACTS, storage=False)["spec"]["template"]["spec"]["volumes"][0]

    assert with_volume["persistentVolumeClaim"] == {"claimName": contract.ARTIFACTS}
    assert without["emptyDir"] == {}
    assert not any(each["kind"] == "PersistentVolumeClaim" for each in everything(storage=False))


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort", "ClusterIP"])
def test_the_service_is_of_the_chosen_type_and_leads_to_the_inference_port(kind: str) -> None:
    settings = RouterSettings(image="x", service_type=kind, port=8443, node_port=30080)
    service = only("Service", contract.ROUTER_SERVICE, settings)

    assert service["spec"]["type"] == kind
    port = service["spec"]["ports"][0]
    assert (port["port"], port["targetPort"]) == (8443, "http")
    assert port.get("nodePort") == (30080 if kind == "NodePort" else None)


def test_the_admin_port_is_reached_pod_by_pod_only() -> None:
    assert only("Service", contract.ROUTER)["spec"]["clusterIP"] == "None"


def test_a_pull_secret_is_used_where_it_is_named() -> None:
    settings = RouterSettings(image="x", pull_secret="registry")

    pod = only("Deployment", contract.ROUTER, settings)["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"image": ""}, "image"),
        ({"image": "no spaces please"}, "image"),
        ({"port": 0}, "port"),
        ({"port": 70000}, "port"),
        ({"node_port": 80}, "node_port"),
        ({"replicas": 0}, "replicas"),
        ({"service_type": "Ingress"}, "service_type"),
        ({"tls_secrets": "Not_a_name"}, "tls_secrets"),
        ({"plain_http": "perhaps"}, "plain_http"),
        ({"plain_http": "refuse"}, "plain_http"),
        ({"address": "score.example.org"}, "address"),
        ({"address": "https://score.example.org/path"}, "address"),
    ],
)
def test_settings_that_cannot_work_are_told_at_their_field(given: dict[str, Any], path: str) -> None:
    with pytest.raises(FieldErrors) as caught:
        check_settings(RouterSettings(**({"image": "x"} | given)), runtime="")
    assert list(caught.value.errors) == [path]


def test_the_embedded_cluster_has_its_image() -> None:
    found = check_settings(RouterSettings(port=8080), runtime="process")

    assert found.image == contract.EMBEDDED_SLIPWAY_IMAGE
    assert known_address(found, runtime="process") == "http://127.0.0.1:8080"
    assert known_address(found, runtime="") == ""
    assert from_json(to_json(found) | {"of_a_later_version": 1}) == found

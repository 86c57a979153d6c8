"""The client libraries people use: the official one and lightkube."""

from collections.abc import Iterator

import lightkube
import pytest
from kubernetes import client as official
from kubernetes import watch as official_watch
from lightkube.core.exceptions import ApiError
from lightkube.models.core_v1 import ConfigMap as ConfigMapModel
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import PatchType

from tests.conformance.conftest import Cluster
from tests.conformance.world import Place, config


@pytest.fixture
def light(cluster: Cluster, place: Place) -> Iterator[lightkube.Client]:
    settings = lightkube.KubeConfig.from_file(str(cluster.kubeconfig))
    with lightkube.Client(settings, namespace=place.name, field_manager="light") as client:
        yield client


def test_the_official_client_writes_reads_lists_and_deletes(cluster: Cluster, place: Place) -> None:
    core = official.CoreV1Api(cluster.admin.api)
    body = official.V1ConfigMap(metadata=official.V1ObjectMeta(name="one", labels={"a": "b"}), data={"k": "v"})
    made = core.create_namespaced_config_map(place.name, body)
    assert made.metadata.uid
    assert core.read_namespaced_config_map("one", place.name).data == {"k": "v"}
    core.patch_namespaced_config_map("one", place.name, {"data": {"k": "w"}})
    (found,) = core.list_namespaced_config_map(place.name, label_selector="a=b").items
    assert found.data == {"k": "w"}
    core.delete_namespaced_config_map("one", place.name)
    with pytest.raises(official.ApiException) as refused:
        core.read_namespaced_config_map("one", place.name)
    assert refused.value.status == 404


def test_the_official_client_watches(cluster: Cluster, place: Place) -> None:
    core = official.CoreV1Api(cluster.admin.api)
    since = core.list_namespaced_config_map(place.name).metadata.resource_version
    place.caller.create(place.path("configmaps"), config("one", labels={"mine": "yes"}))
    stream = official_watch.Watch().stream(
        core.list_namespaced_config_map,
        place.name,
        resource_version=since,
        label_selector="mine=yes",
        timeout_seconds=10,
    )
    event = next(iter(stream))
    stream.close()
    assert (event["type"], event["object"].metadata.name) == ("ADDED", "one")


def test_the_official_client_makes_a_deployment_and_scales_it(cluster: Cluster, place: Place) -> None:
    apps = official.AppsV1Api(cluster.admin.api)
    apps.create_namespaced_deployment(place.name, place.deployment("web", replicas=0))
    scale = apps.read_namespaced_deployment_scale("web", place.name)
    assert (scale.spec.replicas or 0) == 0
    apps.patch_namespaced_deployment_scale("web", place.name, {"spec": {"replicas": 1}})
    assert place.until_available("web", replicas=1)["spec"]["replicas"] == 1


def test_lightkube_applies_patches_lists_and_deletes(light: lightkube.Client, place: Place) -> None:
    made = light.apply(ConfigMap(metadata=ObjectMeta(name="one"), data={"k": "v"}))
    assert isinstance(made, ConfigMapModel)
    light.patch(ConfigMap, "one", {"data": {"l": "w"}}, patch_type=PatchType.MERGE)
    assert [found.data for found in light.list(ConfigMap, fields={"metadata.name": "one"})] == [{"k": "v", "l": "w"}]
    light.delete(ConfigMap, "one")
    with pytest.raises(ApiError) as refused:
        light.get(ConfigMap, "one")
    assert (refused.value.status.code, refused.value.status.reason) == (404, "NotFound")


def test_lightkube_waits_for_a_deployment_and_reads_a_log(light: lightkube.Client, place: Place) -> None:
    body = place.deployment("web", template=place.template("web", run="echo ready to go; exec sleep 1000"))
    light.create(Deployment.from_dict(body))
    light.wait(Deployment, "web", for_conditions=["Available"])
    (pod,) = light.list(Pod, labels={"app": "web"})
    assert list(light.log(pod.metadata.name)) == ["ready to go\n"]


def test_lightkube_watches(light: lightkube.Client, place: Place) -> None:
    place.caller.create(place.path("configmaps"), config("one"))
    kinds = []
    for kind, found in light.watch(ConfigMap, fields={"metadata.name": "one"}):
        kinds.append(kind)
        if kind == "ADDED":
            light.delete(ConfigMap, found.metadata.name)
        if kind == "DELETED":
            break
    assert kinds == ["ADDED", "DELETED"]

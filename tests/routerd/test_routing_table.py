"""From Kubernetes objects to the routing table."""

from typing import Any

import pytest

from routerd.callers_spec import AllowedHosts
from routerd.routes import INVALID_SPEC, NAME_TAKEN, EndpointRoute, Replica, ScaleSpec
from routerd.routing_table import TableBuilder, build_table, ready_replicas

DIGEST = "a" * 64


def online_endpoint(name: str = "credit", namespace: str = "team-a", **spec: Any) -> dict[str, Any]:
    whole = {
        "auth": {"mode": "key", "keyRevision": 4, "keys": [{"name": "primary", "sha256": DIGEST}]},
        "traffic": {"blue": 90, "green": 10, "red": 0},
        "mirror": {},
        "deployments": [raw_deployment("blue"), raw_deployment("green"), raw_deployment("red")],
    }
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{namespace}-{name}",
        "generation": 7,
        "creationTimestamp": "2026-01-02T00:00:00Z",
    }
    return {"metadata": metadata, "spec": whole | spec}


def raw_deployment(name: str, /, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "service": f"credit--{name}",
        "workload": f"credit--{name}",
        "maxConcurrentRequestsPerInstance": 2,
        "maxQueue": 10,
        "maxQueueWaitMs": 500,
        "requestTimeoutMs": 5000,
        "scale": {"mode": "auto", "min": 0, "max": 3},
    } | changes


def endpoint_slice(
    *endpoints: dict[str, Any], service: str = "credit--blue", namespace: str = "team-a", **changes: Any
) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    metadata = {"name": f"{service}-x", "namespace": namespace, "labels": labels}
    return {"metadata": metadata, "ports": [{"port": 5001}], "endpoints": list(endpoints)} | changes


def address(ip: str, pod: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [ip], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}}


def test_an_endpoint_becomes_a_route_with_its_ready_replicas() -> None:
    slices = [endpoint_slice(address("10.0.0.2", "b-2", ready=True), address("10.0.0.1", "b-1", ready=True))]

    (route,) = build_table(endpoints=[online_endpoint()], slices=slices).endpoints

    assert (route.key, route.generation, route.auth_mode, route.key_revision) == ("team-a/credit", 7, "key", 4)
    assert route.keys == (("primary", DIGEST),)
    assert route.traffic == (("blue", 90), ("green", 10))
    assert route.problems == ()
    assert route.routed
    blue = route.deployments[0]
    assert (blue.concurrency, blue.max_queue, blue.max_queue_wait_ms) == (2, 10, 500)
    assert blue.scale == ScaleSpec(mode="auto", min=0, max=3, target_utilization=70, scale_down_delay_s=60)
    assert blue.replicas == (Replica("b-1", "10.0.0.1", 5001), Replica("b-2", "10.0.0.2", 5001))
    assert route.deployments[1].replicas == ()


def test_only_ready_addresses_are_replicas() -> None:
    found = ready_replicas(
        [
            endpoint_slice(
                address("10.0.0.1", "ready", ready=True),
                address("10.0.0.2", "unknown"),
                address("10.0.0.3", "not-ready", ready=False),
                address("10.0.0.4", "terminating", ready=True, terminating=True),
                {"addresses": [], "conditions": {"ready": True}},
            ),
            endpoint_slice(address("10.0.0.1", "ready", ready=True), address("10.0.0.9", "in-second", ready=True)),
        ]
    )

    assert [r.name for r in found["team-a", "credit--blue"]] == ["in-second", "ready", "unknown"]


@pytest.mark.parametrize(
    "broken",
    [
        address("10.0.0.1; shutdown", "pod"),
        address("10.0.0.1\ndisable server", "pod"),
        address("10.0.0.1", "pod weight 0"),
        address("10.0.0.1", "pod/other"),
    ],
)
def test_what_could_become_a_command_is_no_replica(broken: dict[str, Any]) -> None:
    assert ready_replicas([endpoint_slice(broken)])["team-a", "credit--blue"] == ()


def test_services_count_only_in_the_endpoints_own_namespace() -> None:
    foreign = endpoint_slice(address("10.0.0.1", "b-1", ready=True), namespace="team-b")

    (route,) = build_table(endpoints=[online_endpoint()], slices=[foreign]).endpoints

    assert route.deployments[0].replicas == ()


def test_the_oldest_endpoint_of_a_name_wins_and_the_other_says_so() -> None:
    older, younger = online_endpoint(namespace="team-b"), online_endpoint(namespace="team-a")
    older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"

    table = build_table(endpoints=[younger, older], slices=[])

    assert [e.key for e in table.routed()] == ["team-b/credit"]
    (problem,) = table.by_key["team-a/credit"].problems
    assert problem.reason == NAME_TAKEN
    assert "team-b/credit" in problem.message


def test_two_equally_old_endpoints_are_told_apart_by_uid() -> None:
    pair = [online_endpoint(namespace="team-b"), online_endpoint(namespace="team-a")]

    for order in (pair, pair[::-1]):
        assert [e.key for e in build_table(endpoints=order, slices=[]).routed()] == ["team-a/credit"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"maxConcurrentRequestsPerInstance": 0}, "maxConcurrentRequestsPerInstance is 0"),
        ({"maxQueue": "10"}, "maxQueue is '10'"),
        ({"maxQueue": True}, "maxQueue is True"),
        ({"requestTimeoutMs": 300_001}, "requestTimeoutMs is 300001"),
        ({"service": ""}, "service is empty"),
        ({"name": "Blue Green"}, "'Blue Green' is not a name"),
        ({"scale": {"mode": "auto", "min": 4, "max": 3}}, "more than max"),
        ({"scale": {"mode": "manual", "min": 0, "max": 3}}, "'manual'"),
        ({"scale": {}}, "mode is None"),
    ],
)
def test_a_bad_deployment_is_left_out_and_named_while_the_others_serve(changes: dict[str, Any], words: str) -> None:
    deployments = [raw_deployment("blue"), raw_deployment("green", **changes)]
    (route,) = build_table(
        endpoints=[online_endpoint(deployments=deployments, traffic={"blue": 100})], slices=[]
    ).endpoints

    assert [d.name for d in route.deployments] == ["blue"]
    assert route.routed
    assert any(words in p.message and p.reason == INVALID_SPEC for p in route.problems)


@pytest.mark.parametrize("auth", [None, {}, {"mode": "jwt"}, {"mode": "Key"}, "key"])
def test_an_endpoint_whose_authentication_is_not_understood_is_not_routed(auth: Any) -> None:
    (route,) = build_table(endpoints=[online_endpoint(auth=auth)], slices=[]).endpoints

    assert not route.routed
    assert route.problems[0].reason == INVALID_SPEC


def test_a_key_that_is_no_digest_is_left_out_and_named() -> None:
    keys = [{"name": "primary", "sha256": "secret"}, {"name": "two words", "sha256": DIGEST}]
    (route,) = build_table(endpoints=[online_endpoint(auth={"mode": "key", "keys": keys})], slices=[]).endpoints

    assert route.keys == ()
    assert len(route.problems) == 2
    assert "secret" not in route.problems[0].message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"traffic": {"blue": 60, "green": 50}}, "more than 100"),
        ({"traffic": {"pink": 100}}, "pink"),
        ({"traffic": {"blue": "all"}}, "'all'"),
        ({"mirror": {"pink": 10}}, "pink"),
        ({"mirror": {"blue": 10, "green": 10}}, "only one deployment"),
    ],
)
def test_weights_that_make_no_sense_are_named(spec: dict[str, Any], words: str) -> None:
    (route,) = build_table(endpoints=[online_endpoint(**spec)], slices=[]).endpoints

    assert any(words in p.message for p in route.problems)


@pytest.mark.parametrize("junk", ["text", 7, ["text"], [None], {"a": "b"}, [[]]])
@pytest.mark.parametrize("name", ["deployments", "traffic", "mirror", "auth"])
def test_a_field_of_the_wrong_kind_is_a_problem_and_never_an_exception(name: str, junk: Any) -> None:
    (route,) = build_table(endpoints=[online_endpoint(**{name: junk})], slices=[]).endpoints

    assert route.problems


def test_objects_without_anything_in_them_do_not_raise() -> None:
    table = build_table(endpoints=[{}, {"metadata": {}, "spec": None}], slices=[{}, {"metadata": {}}])

    assert table.routed() == ()


def test_of_many_endpoints_only_those_that_changed_are_read_again_and_the_table_is_the_same() -> None:
    objects = {name: online_endpoint(name) for name in ("credit", "fraud", "rates")}
    slices = {
        name: endpoint_slice(address("10.0.0.1", f"{name}-1"), service=f"{name}--blue")
        for name in ("credit", "fraud", "rates")
    }
    for name, item in objects.items():
        item["spec"]["deployments"] = [raw_deployment("blue", service=f"{name}--blue")]
    builder = TableBuilder()

    def build(hosts: AllowedHosts | None = None) -> dict[str, EndpointRoute]:
        told = {"endpoints": list(objects.values()), "slices": list(slices.values()), "allowed_hosts": hosts}
        table = builder.build(**told)  # type: ignore[arg-type]
        assert table == build_table(**told)  # type: ignore[arg-type]
        return {route.name: route for route in table.endpoints}

    first = build()
    assert [build()[name] is first[name] for name in objects] == [True, True, True]
    slices["fraud"] = endpoint_slice(address("10.0.0.2", "fraud-2"), service="fraud--blue")
    objects["rates"] = online_endpoint("rates", hosts=["rates.example.org"])
    second = build()
    assert second["credit"] is first["credit"]
    assert [r.name for r in second["fraud"].deployments[0].replicas] == ["fraud-2"]
    assert second["rates"].hosts == ()
    assert build({"team-a": ("rates.example.org",)})["rates"].hosts == ("rates.example.org",)
    del objects["credit"], slices["fraud"]
    assert build().keys() == {"fraud", "rates"}
    assert build()["fraud"].deployments[0].replicas == ()

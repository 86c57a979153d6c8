"""The sentence about an endpoint says what is so, worst first."""

from deployments.regions.truth import (
    FINE,
    IDLE,
    NEEDS_YOU,
    WATCH,
    DeploymentFacts,
    EndpointFacts,
    Load,
    Truth,
    tell_endpoint,
)

CALM = Load(rps=412, p95_ms=61, turned_away=0, failed=0)


def deployment(
    name: str = "blue", state: str = "healthy", ready: int | None = 2, wanted: int = 2, **more: str
) -> DeploymentFacts:
    return DeploymentFacts(name=name, state=state, ready=ready, wanted=wanted, **more)


def truth(*deployments: DeploymentFacts, traffic: dict[str, int] | None = None, **more: object) -> Truth:
    shares = {"blue": 100} if traffic is None else traffic
    values = {"mirror": {}, "load": CALM, **more}
    return tell_endpoint(EndpointFacts(traffic=shares, deployments=deployments, **values))  # type: ignore[arg-type]


def test_an_endpoint_that_answers_says_how_much_and_how_fast() -> None:
    said = truth(deployment())
    assert (said.group, said.shape) == (FINE, "ok")
    assert said.rest == "412 requests a second, p95 61 ms."


def test_nothing_measured_is_not_told_as_no_calls() -> None:
    assert "called" not in truth(deployment(), load=None).rest


def test_no_replica_under_traffic_is_the_first_thing_said() -> None:
    said = truth(deployment(state="failed", ready=0, cause="PodOutOfMemory", text="It went over 4 GiB."))
    assert (said.group, said.shape) == (NEEDS_YOU, "fail")
    assert "503" in said.rest
    assert "PodOutOfMemory" in said.rest


def test_turned_away_callers_need_somebody_even_when_all_replicas_are_ready() -> None:
    said = truth(deployment(), load=Load(rps=861, p95_ms=498, turned_away=0.031, failed=0))
    assert said.group == NEEDS_YOU
    assert said.rest == "All 2 replicas are full. 3.1 % got 429 in the last minute."


def test_a_failed_rollout_says_that_callers_are_not_affected() -> None:
    said = truth(deployment(), deployment("green", "failed", 0, 1, cause="UserScriptInitFailed", text="No vocab.json."))
    assert said.group == NEEDS_YOU
    assert said.strong == "Rollout of green failed: UserScriptInitFailed."
    assert said.rest.endswith("Callers are not affected; blue answers them all.")


def test_a_rollout_says_what_callers_get_meanwhile() -> None:
    said = truth(deployment(), deployment("green", "updating", 1, 3))
    assert (said.group, said.shape) == (WATCH, "run")
    assert said.rest == "1 of 3 replicas is ready. Callers still get blue."


def test_a_short_mirror_hurts_nobody() -> None:
    said = truth(deployment(), deployment("int8", "degraded", 1, 2, text="1 of 2 is ready."), mirror={"int8": 10})
    assert said.group == WATCH
    assert said.strong == "Answering everyone; the mirror is short."
    assert "only gets copies" in said.rest


def test_without_traffic_callers_get_404_and_that_is_said() -> None:
    said = truth(deployment("trial"), traffic={}, load=None)
    assert said.group == IDLE
    assert "404" in said.rest


def test_an_endpoint_with_nothing_behind_it_says_what_to_do() -> None:
    assert "Add a deployment" in truth(traffic={}, load=None).rest


def test_what_does_not_report_is_not_called_failed() -> None:
    said = truth(deployment(state="unknown", ready=None))
    assert (said.word, said.group) == ("Not reporting", WATCH)


def test_the_first_replica_of_a_sleeping_deployment_is_told_as_starting() -> None:
    said = truth(deployment(state="scaling", ready=0, wanted=1), load=None)
    assert said.strong == "Starting blue."
    assert "wait for the first one" in said.rest


def test_a_router_that_refuses_the_endpoint_is_told_first() -> None:
    said = truth(deployment(), router_says="The name iris is taken in this cluster by ops/iris.")
    assert (said.strong, said.group) == ("The router does not serve it.", NEEDS_YOU)
    assert "taken" in said.rest


def test_the_worst_group_ranks_first() -> None:
    failed, fine = truth(deployment(state="failed", ready=0)), truth(deployment())
    assert failed.rank < fine.rank

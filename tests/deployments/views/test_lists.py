"""Lists cost as many queries for three rows as for one, and are in the order of need."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deployments.models import Endpoint
from studio.models import Workspace
from tests.deployments import world

URLS = (
    "endpoints/",
    "models/",
    "environments/",
    "endpoints/e0/",
    "models/m0/1/",
    "environments/n0/1/",
    "endpoints/e0/logs/",
)


@contextmanager
def counted() -> Iterator[list[int]]:
    counts = [0]
    with CaptureQueriesContext(connection) as queries:
        yield counts
    counts[0] = len(queries)


def add_row(workspace: Workspace, number: int) -> None:
    target = workspace.compute_targets.first() or world.make_target(workspace)
    model = world.make_model(workspace, name=f"m{number}", version=1)
    environment = world.make_environment(workspace, name=f"n{number}", version=1)
    name = f"blue{number}"
    endpoint = Endpoint.objects.filter(name="e0").first() or world.make_endpoint(
        workspace, target=target, name="e0", traffic={"blue0": 100}
    )
    deployment = world.make_deployment(
        endpoint, name=name, model=model, environment=environment, status=world.healthy(f"r{number}", f"s{number}")
    )
    world.measure(deployment, now=timezone.now(), seconds=120)
    world.decide(deployment, now=timezone.now())
    world.log(deployment, replica=f"r{number}", now=timezone.now())
    other = world.make_endpoint(workspace, target=target, name=f"f{number}", traffic={name: 100})
    world.make_deployment(other, name=name, model=model, environment=environment, status=world.healthy("t"))


@pytest.mark.parametrize("url", URLS)
def test_three_rows_cost_as_many_queries_as_one(url: str, workspace: Workspace, as_bob: Client) -> None:
    def queries() -> int:
        """Of the cheapest of three: a deployment is read when it is first looked at, and a minute may end meanwhile."""
        counts = []
        for _ in range(3):
            with counted() as count:
                assert as_bob.get(f"/w/harbour/{url}").status_code == 200
            counts.append(count[0])
        return min(counts)

    add_row(workspace, 0)
    one = queries()
    add_row(workspace, 1)
    add_row(workspace, 2)
    assert queries() <= one


def test_the_list_is_worst_first(workspace: Workspace, as_bob: Client) -> None:
    now = timezone.now()
    world.make_others(workspace, now=now)
    world.make_address_match(workspace, now=now)
    text = as_bob.get("/w/harbour/endpoints/").content.decode()
    names = ["doc-ocr", "eta-forecast", "address-match", "route-cost", "returns-risk", "weekly-churn"]
    places = [text.index(f">{name}<") for name in names]
    assert places == sorted(places)
    assert "2 of 6 endpoints need you." in text


def test_a_page_holds_fifty_and_the_next_one_the_rest(workspace: Workspace, as_bob: Client) -> None:
    target = world.make_target(workspace)
    for number in range(53):
        world.make_endpoint(workspace, target=target, name=f"e{number:02}")
    first = as_bob.get("/w/harbour/endpoints/").content.decode()
    second = as_bob.get("/w/harbour/endpoints/?page=2").content.decode()
    assert ">e49<" in first
    assert ">e50<" not in first
    assert ">e52<" in second
    assert ">e49<" not in second


def test_the_search_finds_by_part_of_the_name(workspace: Workspace, as_bob: Client) -> None:
    world.make_others(workspace, now=timezone.now())
    text = as_bob.get("/w/harbour/endpoints/?find=cost").content.decode()
    assert ">route-cost<" in text
    assert ">doc-ocr<" not in text
    assert "No endpoint is called like that" in as_bob.get("/w/harbour/endpoints/?find=zzz").content.decode()


def test_an_empty_workspace_says_what_an_endpoint_needs(workspace: Workspace, as_bob: Client) -> None:
    assert "A place to run" in as_bob.get("/w/harbour/endpoints/").content.decode()


def test_another_workspaces_endpoints_are_not_listed(workspace: Workspace, as_bob: Client) -> None:
    world.make_others(Workspace.objects.create(name="elsewhere-2"), now=timezone.now())
    assert "doc-ocr" not in as_bob.get("/w/harbour/endpoints/").content.decode()


@pytest.mark.parametrize("region", ["head", "deployments"])
def test_a_region_is_answered_alone(region: str, address_match: Endpoint, as_bob: Client) -> None:
    response = as_bob.get(f"/w/harbour/endpoints/address-match/?region={region}", headers={"HX-Request": "true"})
    text = response.content.decode()
    assert response.status_code == 200
    assert "<html" not in text
    assert text.count("data-live=") == 1


def test_old_samples_are_not_told_as_now(workspace: Workspace, as_bob: Client) -> None:
    world.make_address_match(workspace, now=timezone.now() - timedelta(minutes=5))
    text = as_bob.get("/w/harbour/endpoints/address-match/").content.decode()
    assert "no data" in text
    assert "The load is not known now" in text


def test_metrics_of_a_span_without_samples_are_gaps(
    workspace: Workspace, as_bob: Client, django_assert_max_num_queries: Callable[..., CaptureQueriesContext]
) -> None:
    world.make_address_match(workspace, now=timezone.now() - timedelta(hours=9))
    with django_assert_max_num_queries(8):
        answer = as_bob.get("/w/harbour/endpoints/address-match/metrics/figures?span=6h").json()
    assert answer["empty"] is True
    assert answer["now"]["requests"] == ["", "", "not reporting"]
    assert set(answer["figures"]["requests"]["data"][0]["y"]) == {None}


@pytest.mark.parametrize("span", ["15m", "1h", "6h"])
def test_figures_hold_at_most_600_points(span: str, address_match: Endpoint, as_bob: Client) -> None:
    answer = as_bob.get(f"/w/harbour/endpoints/address-match/metrics/figures?span={span}&deployment=blue").json()
    assert answer["empty"] is False
    for figure in answer["figures"].values():
        assert all(len(trace["y"]) <= 600 for trace in figure["data"])

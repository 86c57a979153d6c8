"""The last hour by minutes: read once, and from then on only what is new."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test.utils import CaptureQueriesContext

from deployments.models import Deployment, Endpoint, MetricSample
from deployments.regions.minutes import MINUTES, add_up, read_minutes
from studio.models import Workspace
from tests.deployments import world

Queries = Callable[..., CaptureQueriesContext]
NOON = datetime(2026, 5, 8, 12, 0, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_cache_of_others() -> None:
    cache.clear()


@pytest.fixture
def blue(workspace: Workspace) -> Deployment:
    endpoint = world.make_endpoint(workspace, target=world.make_target(workspace))
    model, environment = world.make_model(workspace), world.make_environment(workspace)
    return world.make_deployment(endpoint, name="blue", model=model, environment=environment)


def sample(deployment: Deployment, *, at: datetime, ok: int, seconds: float = 1) -> None:
    rest: dict[str, Any] = dict.fromkeys(("refused", "turned_away", "failed", "in_flight", "queued"), 0)
    MetricSample.objects.create(
        deployment=deployment, router="r", at=at, seconds=seconds, ok=ok, concurrency=1, replicas_ready=1,
        replicas_wanted=1, **rest,
    )  # fmt: skip


def test_a_minute_is_its_requests_by_the_time_it_was_measured(blue: Deployment) -> None:
    sample(blue, at=NOON - timedelta(minutes=1), ok=6, seconds=30)
    sample(blue, at=NOON - timedelta(minutes=1, seconds=10), ok=3, seconds=30)
    sample(blue, at=NOON, ok=99)  # of a minute that is not over
    line = read_minutes([blue.pk], now=NOON)[blue.pk]
    assert len(line) == MINUTES
    assert line[-1] == 9 / 60
    assert set(line[:-1]) == {None}


def test_what_was_read_is_kept_and_moves_on_with_the_time(blue: Deployment, django_assert_num_queries: Queries) -> None:
    sample(blue, at=NOON - timedelta(minutes=1), ok=60, seconds=60)
    read_minutes([blue.pk], now=NOON)
    with django_assert_num_queries(0):
        read_minutes([blue.pk], now=NOON)
    sample(blue, at=NOON + timedelta(minutes=1), ok=120, seconds=60)
    with django_assert_num_queries(1):
        line = read_minutes([blue.pk], now=NOON + timedelta(minutes=2))[blue.pk]
    assert line[-3:] == (1.0, None, 2.0)


def test_a_deployment_never_seen_before_is_read_whole_beside_one_that_is_known(
    blue: Deployment, django_assert_num_queries: Queries
) -> None:
    read_minutes([blue.pk], now=NOON)
    endpoint = Endpoint.objects.get()
    green = world.make_deployment(endpoint, name="green", model=blue.model, environment=blue.environment)  # type: ignore[arg-type]
    sample(green, at=NOON - timedelta(minutes=30), ok=60, seconds=60)
    with django_assert_num_queries(2):
        lines = read_minutes([blue.pk, green.pk], now=NOON + timedelta(minutes=1))
    assert set(lines[blue.pk]) == {None}
    assert [rate for rate in lines[green.pk] if rate is not None] == [1.0]


def test_lines_add_up_where_any_of_them_is_known() -> None:
    lines = [(1.0, None, None), (2.0, 3.0, None)]
    assert add_up(lines) == (3.0, 3.0, None)
    assert set(add_up([])) == {None}

"""The arithmetic of rolling updates, as values."""

import pytest

from clusters.embedded.controllers.rollout import (
    Bounds,
    SetView,
    has_progressed,
    is_complete,
    next_new_replicas,
    next_old_replicas,
    proportional,
)


def spec(replicas: int, surge: object = "25%", unavailable: object = "25%") -> dict[str, object]:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}


@pytest.mark.parametrize(
    ("given", "surge", "unavailable"),
    [
        (spec(10), 3, 2),  # percents: surge rounds up, unavailable down
        (spec(1), 1, 0),
        (spec(4, 0, 0), 0, 1),  # both zero would never move
        (spec(4, 2, 1), 2, 1),
        ({"replicas": 3, "strategy": {"type": "Recreate"}}, 0, 0),
    ],
)
def test_percents_become_numbers(given: dict[str, object], surge: int, unavailable: int) -> None:
    bounds = Bounds.of(given)
    assert (bounds.surge, bounds.unavailable) == (surge, unavailable)


def test_the_new_set_grows_only_into_the_surge() -> None:
    bounds = Bounds.of(spec(4, 1, 0))
    old = [SetView("old", 4, 4)]
    assert next_new_replicas(bounds, new=SetView("new", 0, 0), old=old) == 1
    assert next_new_replicas(bounds, new=SetView("new", 1, 0), old=old) == 1


def test_nothing_old_goes_before_something_new_is_available() -> None:
    bounds = Bounds.of(spec(4, 1, 0))
    old = [SetView("old", 4, 4)]
    assert next_old_replicas(bounds, new=SetView("new", 1, 0), old=old) == {}
    assert next_old_replicas(bounds, new=SetView("new", 1, 1), old=old) == {"old": 3}


def test_old_replicas_that_never_became_available_go_first() -> None:
    bounds = Bounds.of(spec(3, 1, 0))
    old = [SetView("older", 3, 3, "2026-01-01"), SetView("broken", 1, 0, "2026-01-02")]
    assert next_old_replicas(bounds, new=SetView("new", 0, 0), old=old) == {"broken": 0}


@pytest.mark.parametrize(("desired", "surge", "unavailable"), [(1, 1, 0), (3, 0, 1), (10, 3, 2), (7, 7, 0), (5, 2, 5)])
def test_a_whole_rollout_ends_and_never_leaves_its_bounds(desired: int, surge: int, unavailable: int) -> None:
    bounds = Bounds.of(spec(desired, surge, unavailable))
    old, new = SetView("old", desired, desired), SetView("new", 0, 0)
    for _ in range(100):
        new = new.with_replicas(next_new_replicas(bounds, new=new, old=[old]))
        shrunk = next_old_replicas(bounds, new=new, old=[old])
        old = SetView("old", shrunk.get("old", old.replicas), min(old.available, shrunk.get("old", old.replicas)))
        assert new.replicas + old.replicas <= desired + surge
        assert new.available + old.available >= desired - unavailable
        new = SetView("new", new.replicas, min(new.available + 1, new.replicas))  # one more became available
    assert (new.replicas, old.replicas) == (desired, 0)


def test_scaling_in_the_middle_of_a_rollout_is_shared_out() -> None:
    bounds = Bounds.of(spec(20, 5, 0))
    views = [SetView("big", 8, 8, "1", 12), SetView("small", 4, 4, "2", 12)]
    sizes = {view.name: view.replicas for view in views} | proportional(bounds, views=views)
    assert sum(sizes.values()) == 25
    assert sizes["big"] > sizes["small"] > 4


def test_complete_means_all_new_and_available_and_nothing_else() -> None:
    bounds = Bounds.of(spec(2))
    done = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    assert is_complete(bounds, status=done)
    assert not is_complete(bounds, status={**done, "replicas": 3})
    assert has_progressed({"replicas": 2, "updatedReplicas": 1}, new={"replicas": 2, "updatedReplicas": 2})
    assert not has_progressed(done, new=done)

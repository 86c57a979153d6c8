"""Nothing is concluded before every kind was listed, and a short break is not yet trouble."""

from datetime import UTC, datetime, timedelta
from typing import Any

from clusters.kube.kinds import DEPLOYMENTS, ONLINE_ENDPOINTS, PODS, REPLICA_SETS
from deployments.watch.view import TargetView
from routerd import contract

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def obj(uid: str, *, deployment: str = "blue") -> dict[str, Any]:
    return {"metadata": {"uid": uid, "labels": {contract.ENDPOINT: "iris", contract.DEPLOYMENT: deployment}}}


def test_a_view_is_synced_when_every_kind_was_listed_once() -> None:
    view = TargetView()
    for kind in (DEPLOYMENTS, REPLICA_SETS):
        view.replace(kind, [])
    assert not view.synced
    view.replace(PODS, [])
    assert view.synced


def test_a_new_list_touches_what_was_there_before_as_well() -> None:
    view = TargetView()
    view.replace(PODS, [obj("1"), obj("2", deployment="green")])
    assert view.replace(PODS, [obj("3")]) == {("iris", "blue"), ("iris", "green")}
    assert [each["metadata"]["uid"] for each in view.of(PODS, ("iris", "blue"))] == ["3"]


def test_changes_are_kept_by_uid() -> None:
    view = TargetView()
    view.replace(ONLINE_ENDPOINTS, [])
    assert view.change(ONLINE_ENDPOINTS, "ADDED", obj("1", deployment="")) == ("iris", "")
    view.change(ONLINE_ENDPOINTS, "DELETED", obj("1", deployment=""))
    assert view.all(ONLINE_ENDPOINTS) == ()


def test_trouble_counts_from_when_it_began_and_ends_with_the_connection() -> None:
    view = TargetView()
    view.set_state(PODS, trouble="refused", now=NOW)
    view.set_state(PODS, trouble="timed out", now=NOW + timedelta(seconds=9))
    assert view.trouble(before=NOW - timedelta(seconds=1)) == ""
    assert view.trouble(before=NOW) == "timed out"
    view.set_state(PODS, trouble="", now=NOW + timedelta(seconds=10))
    assert view.trouble(before=NOW + timedelta(hours=1)) == ""

"""Events are counted and combined, not piled up."""

from datetime import UTC, datetime, timedelta
from typing import Any

from clusters.embedded.events import Similar, event_for

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SET = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "team", "uid": "u-1"}}


def told(similar: Similar, message: str, *, after: float = 0, reason: str = "FailedCreate") -> dict[str, Any]:
    now = NOW + timedelta(seconds=after)
    event = event_for(SET, type="Warning", reason=reason, message=message, component="c", now=now)
    return similar.combine(event, now=now)


def test_the_tenth_that_differs_in_its_message_only_stands_for_those_after_it() -> None:
    similar = Similar()
    first = [told(similar, f"pod {number}") for number in range(9)]
    assert [event["message"] for event in first] == [f"pod {number}" for number in range(9)]
    later = [told(similar, f"pod {number}") for number in range(9, 12)]
    assert [event["message"] for event in later] == [
        f"(combined from similar events): pod {number}" for number in range(9, 12)
    ]
    assert len({event["metadata"]["name"] for event in later}) == 1
    assert later[0]["metadata"]["name"] not in {event["metadata"]["name"] for event in first}


def test_the_same_message_and_other_reasons_are_not_combined() -> None:
    similar = Similar()
    for number in range(30):
        assert told(similar, "the same")["message"] == "the same"
        assert told(similar, f"pod {number % 5}", reason="Other")["message"] == f"pod {number % 5}"


def test_after_ten_quiet_minutes_everything_is_told_by_itself_again() -> None:
    similar = Similar()
    for number in range(20):
        told(similar, f"pod {number}", after=number)
    assert told(similar, "pod 20", after=20 + 601)["message"] == "pod 20"

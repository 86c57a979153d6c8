"""Events of a cluster as lines."""

from deployments.watch.events import line_of


def test_a_warning_is_a_line_with_its_own_time() -> None:
    line = line_of(
        {
            "type": "Warning",
            "reason": "FailedScheduling",
            "message": "0/1 nodes are available: 1 Insufficient cpu.",
            "lastTimestamp": "2026-11-21T09:00:00Z",
            "eventTime": None,
        }
    )
    assert line is not None
    assert (line.level, line.source) == ("warn", "event")
    assert line.text == "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu."
    assert line.at.isoformat() == "2026-11-21T09:00:00+00:00"


def test_an_event_without_a_time_is_none() -> None:
    assert line_of({"type": "Normal", "reason": "Pulled"}) is None

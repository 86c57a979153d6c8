"""Which lines of a log that comes again are new: pure."""

from clusters.kube.logs import Cursor, run_of


def took(cursor: Cursor, *times: str) -> list[str]:
    return [at for at in times if cursor.take(at)]


def test_lines_of_one_instant_are_told_apart_by_their_number() -> None:
    cursor = Cursor()
    at = "2026-11-21T09:00:00.5Z"
    assert took(cursor, at, at, at) == [at, at, at]

    cursor.rewind()

    later = "2026-11-21T09:00:00.500000001Z"
    assert took(cursor, at, at, at, at, later) == [at, later]


def test_a_second_break_skips_what_came_in_both_readings() -> None:
    cursor = Cursor()
    at = "2026-11-21T09:00:00Z"
    took(cursor, at)
    for _ in range(2):
        cursor.rewind()
        assert took(cursor, at) == []
    assert took(cursor, at) == [at]


def test_fractions_of_different_length_are_compared_by_value() -> None:
    cursor = Cursor()
    took(cursor, "2026-11-21T09:00:00.9Z")

    assert not cursor.take("2026-11-21T09:00:00.123456789Z")
    assert cursor.take("2026-11-21T09:00:01Z")


def test_a_reader_that_knows_a_line_begins_after_it() -> None:
    known = "2026-11-21T09:00:00.5Z"
    cursor = Cursor(known)

    assert cursor.since == "2026-11-21T09:00:00Z"
    assert took(cursor, "2026-11-21T09:00:00.1Z", known, known, "2026-11-21T09:00:00.6Z") == ["2026-11-21T09:00:00.6Z"]


def test_a_container_between_two_runs_has_a_log_and_one_never_started_has_none() -> None:
    between = {
        "metadata": {"uid": "1"},
        "status": {
            "containerStatuses": [
                {
                    "name": "main",
                    "restartCount": 2,
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"exitCode": 1}},
                }
            ]
        },
    }

    assert (run_of(between, "main").restarts, run_of(between, "main").started) == (2, True)
    assert not run_of({"metadata": {"uid": "1"}}, "main").started

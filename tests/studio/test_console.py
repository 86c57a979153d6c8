"""What the process says, and where."""

import sys

import pytest
import structlog

from studio.console import say_in_one_line


def test_an_event_is_one_line_with_its_keys() -> None:
    event = {"event": "Deploying", "endpoint": "iris", "revision": 3}
    assert say_in_one_line(None, "info", event) == "Deploying  endpoint=iris revision=3"


def test_events_go_to_standard_error_never_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger("studio.something")
    log.info("Deploying", endpoint="iris")
    try:
        raise ValueError("a reason")
    except ValueError:
        log.exception("Broke", endpoint="iris")
    said = capsys.readouterr()
    assert said.out == ""
    assert "INFO    studio.something: Deploying  endpoint=iris\n" in said.err
    assert "ValueError: a reason" in said.err
    assert sys.stderr is not None

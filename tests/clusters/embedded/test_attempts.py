"""What is known of a container's attempt from its directory alone."""

from pathlib import Path

from clusters.embedded.kubelet.process import is_alive, read_exit


def test_an_attempt_that_was_killed_before_it_began_is_over_and_nothing_is_known_of_it(tmp_path: Path) -> None:
    assert not is_alive(tmp_path)
    end = read_exit(tmp_path)
    assert (end.exit_code, end.known, end.started_at) == (137, False, "")
    assert end.finished_at.startswith("20")

"""How long a controller waits before it tries again."""

from clusters.embedded.controllers.loop import retry_delay


def test_each_failure_doubles_the_wait_up_to_half_a_minute_however_many_there_were() -> None:
    assert [retry_delay(failures) for failures in range(4)] == [0.005, 0.01, 0.02, 0.04]
    assert retry_delay(13) == 30.0
    assert retry_delay(100_000) == 30.0

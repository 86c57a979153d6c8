"""What passes a slot twice is counted once, whatever moment the counters are read at."""

import random
from dataclasses import replace

from routerd.haproxy.first_passages import BackendStat, Reading, count_once

SLOT = "q500-0001"
NOTHING = BackendStat(SLOT, 0, 0, 0, 0, 0, 0, 1, 0, 0)


def stat(requests: int, *, ok: int) -> BackendStat:
    return replace(NOTHING, requests=requests, status_2xx=ok)


def test_a_request_that_waited_in_the_lobby_counts_once() -> None:
    reading = count_once({SLOT: stat(12, ok=12)}, away={SLOT: stat(5, ok=5)}, before=Reading())
    assert (reading.once[SLOT].requests, reading.once[SLOT].status_2xx) == (7, 7)


def test_an_answer_that_is_under_way_takes_nothing_back() -> None:
    """The head of the lobby's answer is counted before the end of the slot's."""
    before = count_once({SLOT: stat(10, ok=10)}, away={SLOT: NOTHING}, before=Reading())
    between = count_once({SLOT: stat(12, ok=10)}, away={SLOT: stat(1, ok=1)}, before=before)
    assert between.once[SLOT].status_2xx == 10
    after = count_once({SLOT: stat(12, ok=12)}, away={SLOT: stat(1, ok=1)}, before=between)
    assert (after.once[SLOT].requests, after.once[SLOT].status_2xx) == (11, 11)


def test_a_new_haproxy_counts_from_nothing() -> None:
    before = count_once({SLOT: stat(10, ok=10)}, away={SLOT: stat(2, ok=2)}, before=Reading())
    anew = count_once({SLOT: stat(3, ok=1)}, away={SLOT: stat(1, ok=1)}, before=before)
    assert (anew.once[SLOT].requests, anew.once[SLOT].status_2xx) == (2, 0)


def test_in_whatever_order_answers_are_counted_nothing_falls_and_the_sum_is_right() -> None:
    dice = random.Random(3)  # noqa: S311 - a course that can be repeated
    for _ in range(300):
        seen = {"slot": 0, "lobby": 0, "lobby answered": 0, "slot answered": 0}
        reading, last = Reading(), NOTHING
        for _ in range(5):  # five requests, one after the other
            heads = ["lobby answered", "slot answered"]  # of the first passage's answer, and the second's as a whole
            for step in ["slot", "lobby", "slot", *dice.sample(heads, 2), "slot answered"]:
                seen[step] += 1
                slot = stat(seen["slot"], ok=seen["slot answered"])
                away = stat(seen["lobby"], ok=seen["lobby answered"])
                reading = count_once({SLOT: slot}, away={SLOT: away}, before=reading)
                once = reading.once[SLOT]
                assert once.requests >= last.requests
                assert once.status_2xx >= last.status_2xx
                last = once
        assert (last.requests, last.status_2xx) == (5, 5)

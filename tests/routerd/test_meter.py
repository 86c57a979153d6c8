"""The meter, from captured counters and log records."""

import json
from dataclasses import replace

import pytest

from routerd.haproxy.config import LOG_FIELDS
from routerd.haproxy.first_passages import BackendStat
from routerd.load import describe_record
from routerd.meter import AccessRecord, LoadMeter, quantiles, read_record, split_record
from routerd.routes import RoutingTable
from routerd.samples import Requests
from routerd.slots import SlotTable
from tests.routerd.conftest import deployment, endpoint

OWNER = ("team-a", "credit", "blue")
SLOT = "q500-0001"
SLOTS = SlotTable(sizes={500: 2}, owners={SLOT: OWNER})
TABLE = RoutingTable(endpoints=(endpoint(deployment("blue")),))
ZERO = BackendStat(
    slot=SLOT,
    in_flight=0,
    queued=0,
    requests=0,
    status_2xx=0,
    status_4xx=0,
    status_5xx=0,
    servers_up=1,
    queue_time_ms=0,
    response_time_ms=0,
)


def look(meter: LoadMeter, *stats: BackendStat, now: float, slots: SlotTable = SLOTS, held: int = 0) -> None:
    meter.look({stat.slot: stat for stat in stats}, held={SLOT: held} if held else {}, slots=slots, now=now)


def taken(meter: LoadMeter, *, now: float) -> Requests:
    (sample,) = meter.take_samples(TABLE, asked={}, now=now)
    return sample.requests


def record(status: int, *, total_ms: float = 10, refused: bool = False) -> AccessRecord:
    return AccessRecord(slot=SLOT, status=status, total_ms=total_ms, service_ms=total_ms, refused=refused)


def log_line(**values: str) -> bytes:
    return "\t".join(values.get(name, "-") for name, _ in LOG_FIELDS).encode()


def test_load_is_the_mean_over_the_last_second_and_forgets_what_is_older():
    meter = LoadMeter()
    look(meter, replace(ZERO, in_flight=9, queued=9), now=10.0)
    for tenth, in_flight in enumerate([0, 1] * 5):
        look(meter, replace(ZERO, in_flight=in_flight, queued=2), now=11.1 + tenth / 10, held=1)
    load = meter.load(OWNER, now=12.05)
    assert load is not None
    assert (load.in_flight, load.queued, load.held, load.busy) == (pytest.approx(0.5), 2, 1, pytest.approx(3.5))


def test_load_is_unknown_before_the_first_look_and_when_nobody_looks_any_more():
    meter = LoadMeter()
    assert meter.load(OWNER, now=0) is None
    look(meter, ZERO, now=10.0)
    assert meter.load(OWNER, now=11.4) is not None
    assert meter.load(OWNER, now=11.6) is None


def test_looks_at_an_idle_router_count_as_much_as_any_other():
    meter, busy, idle = LoadMeter(), {SLOT: replace(ZERO, in_flight=4)}, {SLOT: ZERO}
    meter.look(busy, held={}, slots=SLOTS, now=10.0)
    for stats, now in (
        (idle, 10.2),
        (idle, 10.4),
        (idle, 10.6),
    ):  # the same object: what Runtime gives while it is quiet
        meter.look(stats, held={}, slots=SLOTS, now=now)
    load = meter.load(OWNER, now=10.6)
    assert load is not None
    assert load.in_flight == 1
    (sample,) = meter.take_samples(TABLE, asked={}, now=10.8)
    assert (sample.in_flight, sample.seconds) == (1, 0.8)
    meter.look(idle, held={}, slots=SLOTS, now=11.5)
    late = meter.load(OWNER, now=12.9)
    assert late is not None
    assert late.in_flight == 0
    assert meter.load(OWNER, now=13.1) is None


def test_an_idle_second_has_a_sample_of_its_own_and_tells_what_changed_in_it():
    meter, idle = LoadMeter(), {SLOT: ZERO}
    more = RoutingTable(endpoints=(endpoint(deployment("blue", concurrency=7)),))
    samples = []
    for now in (1.0, 2.0, 3.0):
        meter.look(idle, held={}, slots=SLOTS, now=now - 0.5)
        samples += meter.take_samples(TABLE if now < 3 else more, asked={OWNER: int(now)}, now=now)
    assert [each.at for each in samples] == [1.0, 2.0, 3.0]
    assert [each.replicas_wanted for each in samples] == [1, 2, 3]
    assert samples[-1].concurrency == 7
    assert meter.take_samples(TABLE, asked={}, now=4.0) == []  # nobody looked


def test_what_was_answered_before_the_first_look_is_not_counted():
    meter = LoadMeter()
    look(meter, replace(ZERO, status_2xx=500, requests=500), now=1.0)
    look(meter, replace(ZERO, status_2xx=503, requests=504), now=2.0)
    assert taken(meter, now=2.0) == Requests(ok=3)
    load = meter.load(OWNER, now=2.0)
    assert load is not None
    assert load.arrived == 4


def test_counters_that_started_again_from_zero_count_from_there():
    meter = LoadMeter()
    look(meter, replace(ZERO, status_2xx=500), now=1.0)
    look(meter, replace(ZERO, status_2xx=2), now=2.0)
    assert taken(meter, now=2.0) == Requests(ok=2)


def test_the_first_requests_of_a_new_owner_count_and_those_of_the_old_one_do_not():
    meter = LoadMeter()
    look(meter, replace(ZERO, status_2xx=70), now=1.0, slots=SlotTable(sizes={500: 2}))
    look(meter, replace(ZERO, status_2xx=71), now=2.0)
    assert taken(meter, now=2.0) == Requests(ok=1)


def test_both_slots_of_an_owner_that_changes_its_wait_class_count():
    meter, second = LoadMeter(), "q2000-0001"
    slots = SlotTable(sizes={500: 2, 2000: 2}, owners={SLOT: OWNER, second: OWNER})
    look(meter, ZERO, replace(ZERO, slot=second), now=1.0, slots=slots)
    stats = (replace(ZERO, in_flight=1, status_2xx=1), replace(ZERO, slot=second, in_flight=2, status_2xx=5))
    look(meter, *stats, now=2.5, slots=slots)
    load = meter.load(OWNER, now=2.5)
    assert load is not None
    assert load.in_flight == 3
    assert taken(meter, now=2.5) == Requests(ok=6)


def test_a_429_told_by_the_log_before_its_counter_moved_is_taken_out_of_the_next_4xx():
    meter = LoadMeter()
    look(meter, ZERO, now=1.0)
    meter.record(record(429, refused=True), owner=OWNER, weight=1, now=1.1)
    assert taken(meter, now=2.0) == Requests()
    look(meter, replace(ZERO, status_4xx=2), now=2.1)
    assert taken(meter, now=3.0) == Requests(refused=1, throttled=1)


def test_a_429_of_the_model_itself_is_an_answer_with_a_latency():
    meter = LoadMeter()
    look(meter, ZERO, now=1.0)
    meter.record(record(429), owner=OWNER, weight=1, now=1.1)
    (sample,) = meter.take_samples(TABLE, asked={}, now=2.0)
    assert (sample.requests.throttled, sample.latency_ms) == (0, (10, 10, 10))


def test_everything_about_an_owner_is_forgotten_when_it_has_no_slot_any_more():
    meter = LoadMeter()
    look(meter, ZERO, now=1.0)
    meter.take_samples(TABLE, asked={OWNER: 2}, now=1.5)
    look(meter, ZERO, now=2.0, slots=SlotTable(sizes={500: 2}))
    assert meter.load(OWNER, now=2.0) is None
    assert (meter.last_sample, meter.totals) == ({}, {})
    assert meter.take_samples(TABLE, asked={}, now=2.5) == []


def test_quantiles_weigh_a_sampled_success_as_all_it_stands_for():
    values = [(5.0, 10)] * 9 + [(900.0, 1)] * 10  # 90 quick successes, 10 slow failures
    assert quantiles(values) == (5.0, 900.0, 900.0)
    assert quantiles([(5.0, 10)] * 10 + [(900.0, 1)]) == (5.0, 5.0, 5.0)
    assert quantiles([(7.0, 1)]) == (7.0, 7.0, 7.0)
    assert quantiles([]) is None


def test_a_record_tells_what_the_replica_took_without_the_waiting():
    line = log_line(slot=SLOT, status="200", total_ms="700", receive_ms="100", queue_ms="150", held_ms="50", reason="-")
    assert read_record(split_record(line)) == AccessRecord(SLOT, 200, 700, 400, False)


@pytest.mark.parametrize(
    ("status", "reason", "refused"),
    [("429", "queue_full", True), ("503", "no_replica", True), ("504", "model_timeout", False), ("500", "-", False)],
)
def test_only_quick_answers_of_the_router_itself_count_as_refusals(status, reason, refused):
    line = log_line(slot=SLOT, status=status, total_ms="1", receive_ms="-1", queue_ms="-1", reason=reason)
    found = read_record(split_record(line))
    assert found is not None
    assert found.refused is refused


@pytest.mark.parametrize(
    "line", [b"", b"\xff\xfe", b"a\tb", log_line(), log_line(slot=SLOT, status="x"), log_line(status="401")]
)
def test_what_is_no_record_of_a_slot_is_passed_over(line):
    fields = split_record(line)
    assert fields is None or read_record(fields) is None


def test_a_record_for_people_holds_numbers_and_no_unknown_fields():
    fields = split_record(log_line(slot=SLOT, status="200", held_ms="120", endpoint="5", queue_ms="-1"))
    line = json.loads(describe_record(fields, at=1.23456))
    assert line == {"at": 1.235, "event": "request", "slot": SLOT, "status": 200, "held_ms": 120, "endpoint": "5"}

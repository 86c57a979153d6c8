"""The numbered rings behind the admin API's samples and decisions."""

import json

import pytest

from routerd.autoscale.policy import Figures
from routerd.samples import Decision, History, Requests, Ring, Sample

FIGURES = Figures(in_flight=2.0, queued=4.0, concurrency=1, target=70, wanted_raw=9, min=1, max=10)


def sample(at: float) -> Sample:
    return Sample(
        at=at,
        namespace="parcels",
        endpoint="volume",
        deployment="blue",
        seconds=1.0,
        requests=Requests(ok=3, throttled=1),
        latency_ms=(5.0, 9.0, 9.5),
        in_flight=1.5,
        queued=0.0,
        concurrency=1,
        replicas_ready=2,
        replicas_wanted=2,
        held=0.0,
    )


def decision(at: float) -> Decision:
    return Decision(at, "parcels", "volume", "blue", before=1, after=3, reason="load", figures=FIGURES)


def ring_of(count: int, *, limit: int = 100) -> Ring[Sample]:
    ring: Ring[Sample] = Ring(limit=limit, seconds=60)
    ring.extend([sample(float(at)) for at in range(count)])
    return ring


def test_a_reader_that_follows_next_sees_every_record_once():
    ring, seen, after = ring_of(0), [], 0
    for burst in (3, 0, 1, 7):
        ring.extend([sample(1.0) for _ in range(burst)])
        records, after = ring.after(after, limit=2)
        if burst > 2:
            seen += [record.seq for record in records]
            records, after = ring.after(after, limit=50)
        seen += [record.seq for record in records]
    assert seen == list(range(1, 12))


@pytest.mark.parametrize(("after", "first"), [(0, 11), (5, 11), (10, 11), (11, 12), (19, 20), (999, 11)])
def test_a_number_outside_the_ring_gives_what_is_there(after, first):
    records, following = ring_of(20, limit=10).after(after, limit=50)
    assert following == 20
    assert records[0].seq == first
    assert records[-1].seq == 20


def test_a_reader_that_is_up_to_date_gets_nothing():
    assert ring_of(5).after(5, limit=50) == ([], 5)


def test_records_older_than_the_time_kept_are_forgotten():
    assert [record.at for record in ring_of(90).after(0, limit=100)[0]] == [float(at) for at in range(30, 90)]


def test_a_decision_is_told_again_under_its_old_id_when_its_replicas_are_ready():
    history = History()
    history.decide(decision(1.0))
    made = history.decide(decision(2.0))
    _, following = history.decisions.after(0, limit=50)
    history.mark_ready(made, at=9.0)
    news, _ = history.decisions.after(following, limit=50)
    assert [(record.seq, record.id, record.ready_at) for record in news] == [(3, 2, 9.0)]


def test_records_have_the_fields_the_admin_api_promises():
    sent = json.loads(json.dumps(sample(1.0).to_json()))
    assert sent["requests"] == {"2xx": 3, "4xx": 0, "429": 1, "5xx": 0}
    assert sent["latency_ms"] == {"p50": 5.0, "p95": 9.0, "p99": 9.5}
    assert set(sent) == {
        "seq", "at", "namespace", "endpoint", "deployment", "seconds", "requests", "latency_ms",
        "in_flight", "queued", "concurrency", "replicas_ready", "replicas_wanted", "held",
    }  # fmt: skip
    told = json.loads(json.dumps(decision(1.0).to_json()))
    assert (told["from"], told["to"], told["ready_at"]) == (1, 3, None)
    assert set(told["figures"]) == {
        "in_flight", "queued", "concurrency", "target", "wanted_raw", "min", "max",
    }  # fmt: skip

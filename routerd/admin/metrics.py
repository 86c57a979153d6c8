"""Prometheus metrics: bounded by the number of deployments in the table, never by what callers send.

HAProxy's own exporter writes 20 MB for a thousand endpoints; this is what an operator looks at, some 15 lines per
deployment. Counters start with this process, like any process's counters.
"""

import os
import resource
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from routerd.board import Board
from routerd.control import Router
from routerd.samples import Sample
from routerd.slots import SlotOwner

_STARTED: Final = time.time()
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_QUANTILES: Final = ("0.5", "0.95", "0.99")

Line = tuple[dict[str, str], float]


def render(
    router: Router, *, board: Board, unmirrored: Mapping[SlotOwner, int] | None = None, dropped: int | None = None
) -> str:
    """Every metric of this router in the text format.

    What HAProxy itself counts: `unmirrored`, requests too large to be copied; `dropped`, requests that were not logged
    because nobody read the log. None: it does not say now.
    """
    return "".join(
        line
        for name, kind, text, values in (
            *_of_deployments(board),
            *_of_mirrors(unmirrored or {}),
            *_of_log(dropped),
            *_of_answers(board),
            *_of_endpoints(router),
            *_of_certificates(router),
            *_of_tracing(board),
            *_of_process(router, board=board),
        )
        for line in _family(name, kind=kind, text=text, values=values)
    )


Family = tuple[str, str, str, list[Line]]


def _of_deployments(board: Board) -> Iterator[Family]:
    samples = list(board.meter.last_sample.values())
    totals: list[Line] = [
        (_labels(owner) | {"class": group}, count)
        for owner, requests in board.meter.totals.items()
        for group, count in requests.to_json().items()
    ]
    yield "routerd_requests_total", "counter", "Requests answered, by class of status.", totals
    for name, text, attribute in (
        ("in_flight", "Requests at replicas, mean of the last second.", "in_flight"),
        ("queued", "Requests waiting for a replica, mean of the last second.", "queued"),
        ("held", "Requests waiting while there is no replica, mean of the last second.", "held"),
    ):
        values: list[Line] = [(_labels(sample.key), getattr(sample, attribute)) for sample in samples]
        yield f"routerd_requests_{name}", "gauge", text, values
    ready: list[Line] = [(_labels(sample.key), sample.replicas_ready) for sample in samples]
    yield "routerd_replicas_ready", "gauge", "Replicas in rotation.", ready
    wanted: list[Line] = [(_labels(owner), count) for owner, count in board.asked.items()]
    yield "routerd_replicas_wanted", "gauge", "Replicas asked of the workload.", wanted
    yield (
        "routerd_request_duration_seconds",
        "gauge",
        "Latency quantiles of the last second.",
        list(_latencies(samples)),
    )


def _latencies(samples: Iterable[Sample]) -> Iterator[Line]:
    for sample in samples:
        for quantile, milliseconds in zip(_QUANTILES, sample.latency_ms or (), strict=False):
            yield _labels(sample.key) | {"quantile": quantile}, milliseconds / 1000


def _of_endpoints(router: Router) -> Iterator[Family]:
    table, in_force = router.table(), router.in_force()
    wanted = {endpoint.key: endpoint for endpoint in table.endpoints} if table else {}
    for name, text, attribute in (
        ("generation", "Generation of the OnlineEndpoint: asked for, and in force in HAProxy.", "generation"),
        ("key_revision", "Revision of its keys: asked for, and in force in HAProxy.", "key_revision"),
    ):
        values: list[Line] = []
        for state, items in (("wanted", wanted), ("in_force", in_force)):
            for key, item in items.items():
                namespace, _, endpoint = key.partition("/")
                labels = {"namespace": namespace, "endpoint": endpoint, "state": state}
                values.append((labels, getattr(item, attribute)))
        yield f"routerd_endpoint_{name}", "gauge", text, values


def _of_certificates(router: Router) -> Iterator[Family]:
    states = router.certificates()
    ends: list[Line] = [({"secret": state.secret}, state.not_after) for state in states if state.not_after is not None]
    text = "Until when the certificate of a Secret is valid (unix time)."
    yield "routerd_certificate_not_after_seconds", "gauge", text, ends
    usable: list[Line] = [({"secret": state.secret}, not state.problem) for state in states]
    yield "routerd_certificate_usable", "gauge", "1 when HAProxy has what the Secret holds.", usable


def _of_mirrors(unmirrored: Mapping[SlotOwner, int]) -> Iterator[Family]:
    values: list[Line] = [(_labels(owner), count) for owner, count in unmirrored.items()]
    yield "routerd_mirror_skipped_total", "counter", "Requests whose body was too large to be mirrored.", values


def _of_log(dropped: int | None) -> Iterator[Family]:
    if dropped is not None:
        text = "Requests that are missing in the access log: nobody read it for long, or there were too many."
        yield "routerd_log_dropped_total", "counter", text, [({}, dropped)]


def _of_answers(board: Board) -> Iterator[Family]:
    values: list[Line] = [({"reason": reason}, count) for reason, count in sorted(board.meter.refusals.items())]
    yield "routerd_own_answers_total", "counter", "Answers the router gave itself, by reason.", values


def _of_tracing(board: Board) -> Iterator[Family]:
    if board.tracing:
        text = "Logged requests whose span no collector took: it is away, or there are too many."
        yield "routerd_spans_dropped_total", "counter", text, [({}, board.tracing.dropped)]


def _of_process(router: Router, *, board: Board) -> Iterator[Family]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only
    yield "routerd_ready", "gauge", "1 when callers should be sent here.", [({}, router.ready())]
    yield "routerd_leader", "gauge", "1 when this router scales and writes status.", [({}, board.leading)]
    lost_at = router.lost_at()
    text = "For how long the API server has not been heard, and the table is as last known; 0: it is."
    yield "routerd_api_server_lost_seconds", "gauge", text, [({}, time.time() - lost_at if lost_at else 0)]
    cpu = usage.ru_utime + usage.ru_stime
    yield "process_cpu_seconds_total", "counter", "CPU time of the control process.", [({}, cpu)]
    yield "process_resident_memory_bytes", "gauge", "Memory of the control process.", [({}, resident)]
    yield "process_open_fds", "gauge", "Open descriptors of the control process.", [({}, descriptors)]
    yield "process_start_time_seconds", "gauge", "When the control process started.", [({}, _STARTED)]


def _labels(owner: tuple[str, str, str]) -> dict[str, str]:
    return dict(zip(("namespace", "endpoint", "deployment"), owner, strict=True))


def _family(name: str, *, kind: str, text: str, values: Iterable[Line]) -> Iterator[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
    for labels, value in values:
        # Kubernetes names hold nothing that would need escaping in a label.
        inside = ",".join(f'{label}="{content}"' for label, content in labels.items())
        yield f"{name}{{{inside}}} {float(value):.10g}\n" if inside else f"{name} {float(value):.10g}\n"

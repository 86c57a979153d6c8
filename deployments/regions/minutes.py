"""The last hour of many deployments, minute by minute, for the small lines in a list.

A minute that is over does not change any more, so it is read once and kept in the cache: a page reads only the minutes
since it was last shown, and not the 3,600 samples of every row each time.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.core.cache import cache
from django.db.models import Sum

from deployments.models import MetricSample
from deployments.regions.samples import REQUESTS, BucketIndex

MINUTES: Final = 60
_LATE: Final = 10  # seconds in which the samples of a minute may still come in
_KEPT: Final = 2 * 3600  # seconds without being looked at

Minutes = tuple[float | None, ...]
_NOTHING: Final[Minutes] = (None,) * MINUTES


def read_minutes(deployments: Collection[int], *, now: datetime) -> dict[int, Minutes]:
    """Requests a second in each of the last 60 whole minutes, oldest first; None where nothing was measured.

    At most two queries: one for deployments never looked at, one for the minutes since.
    """
    last = (int(now.timestamp()) - _LATE) // 60 - 1
    kept = cache.get_many([_key(pk) for pk in deployments])
    found = {pk: _moved(kept[_key(pk)], last=last) for pk in deployments if _key(pk) in kept}
    since = min((kept[_key(pk)][0] for pk in found), default=last) + 1
    new = [pk for pk in deployments if pk not in found]
    rates = _read(new, first=last - MINUTES + 1, last=last) | _read(list(found), first=since, last=last)
    for (pk, index), rate in rates.items():
        line = list(found.get(pk, _NOTHING))
        if 0 <= (position := index - last + MINUTES - 1) < MINUTES:
            line[position] = rate
            found[pk] = tuple(line)
    told = {pk: found.get(pk, _NOTHING) for pk in deployments}
    if new or since <= last:
        cache.set_many({_key(pk): (last, line) for pk, line in told.items()}, _KEPT)
    return told


def add_up(lines: Sequence[Minutes]) -> Minutes:
    """Several deployments as one line."""
    return tuple(_sum(values) for values in zip(*lines, strict=True)) if lines else _NOTHING


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _key(deployment: int) -> str:
    return f"minutes/{deployment}"


def _moved(kept: tuple[int, Minutes], *, last: int) -> Minutes:
    """A kept line as seen some minutes later."""
    then, line = kept
    by = min(max(last - then, 0), MINUTES)
    return (*line[by:], *_NOTHING[:by])


def _read(deployments: Collection[int], *, first: int, last: int) -> dict[tuple[int, int], float]:
    if not deployments or first > last:
        return {}
    start, end = (datetime.fromtimestamp(minute * 60, tz=UTC) for minute in (first, last + 1))
    rows: Any = (
        MetricSample.objects.filter(deployment_id__in=deployments, at__gte=start, at__lt=end)
        .order_by()
        .annotate(index=BucketIndex("at", step=60))
        .values_list("deployment_id", "index")
        .annotate(requests=Sum(REQUESTS), measured=Sum("seconds"))
    )
    # Routers that hand a deployment over may both have measured for a moment: a minute has no more than 60 seconds.
    return {(pk, int(index)): requests / min(measured, 60.0) for pk, index, requests, measured in rows if measured}

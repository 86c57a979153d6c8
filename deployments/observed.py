"""Writing down what was seen of endpoints, and waking who waits for it. Used by the recorder and by the sampler."""

from typing import Any

from django.db import transaction

from deployments.models import Endpoint
from studio.models import UNFINISHED, Operation
from studio.services.operations import wake


def wake_operations(*, deployment: int, endpoint: int | None) -> None:
    """Have unfinished Operations on a deployment (and on its endpoint) look again."""
    about = Operation.objects.filter(state__in=UNFINISHED)
    mine = about.filter(subject_kind="deployment", subject_id=str(deployment))
    if endpoint is not None:
        mine = mine | about.filter(subject_kind="endpoint", subject_id=str(endpoint))
    for pk in mine.values_list("pk", flat=True):
        wake(pk)


def merge_observed(endpoint: int, values: dict[str, Any]) -> bool:
    """Write `values` into Endpoint.observed, whose keys have two authors: the recorder and the sampler. Changed?"""
    with transaction.atomic():
        row = Endpoint.objects.select_for_update().filter(pk=endpoint).first()
        if row is None or (row.observed | values) == row.observed:
            return False
        Endpoint.objects.filter(pk=endpoint).update(observed=row.observed | values)
    return True

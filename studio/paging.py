"""Pages of long lists: the query tells whether there is more by asking for one row too many, and counts nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

PAGE = 50


@dataclass(frozen=True)
class Page:
    """One page of a list. `first` and `last` count rows from 1."""

    rows: Sequence[Any]
    number: int
    first: int
    last: int
    more: bool


def page_number(request: HttpRequest) -> int:
    """`?page=`, from 1; 1 for anything that is not a page number."""
    text = request.GET.get("page", "1")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 6 else 1


def page_of(rows: QuerySet[Any], *, number: int, size: int = PAGE) -> Page:
    """Page `number` of `rows`, from 1. One query."""
    start = (number - 1) * size
    found = list(rows[start : start + size + 1])
    shown = found[:size]
    return Page(rows=shown, number=number, first=start + 1, last=start + len(shown), more=len(found) > size)

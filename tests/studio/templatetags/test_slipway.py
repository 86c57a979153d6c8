"""Figures and times as people read them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone

from studio.templatetags import slipway
from studio.templatetags.slipway import THIN


def plain(text: str) -> str:
    return text.replace(THIN, " ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (51.9, "51.9 s"), (131, "2 min 11 s"), (11100, "3 h 5 min"), (None, "–")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert plain(slipway.duration(seconds)) == text


@pytest.mark.parametrize(
    ("value", "text"), [(512, "512 B"), (1.8 * 2**30, "1.8 GiB"), (300 * 2**20, "300 MiB"), (None, "–"), (0, "0 B")]
)
def test_bytes(value: float | None, text: str) -> None:
    assert plain(slipway.bytes(value)) == text


@pytest.mark.parametrize(("value", "text"), [(3.21, "3.2 ms"), (61.4, "61 ms"), (1240, "1.24 s"), (None, "–")])
def test_milliseconds(value: float | None, text: str) -> None:
    assert plain(slipway.ms(value)) == text


def test_what_is_not_known_is_a_dash_and_never_zero() -> None:
    assert slipway.thousands(None) == "–"
    assert slipway.thousands(1234567) == "1,234,567"
    assert slipway.clock(None) == "–"


def test_today_has_a_time_and_other_days_a_date() -> None:
    now = timezone.now()
    assert slipway.clock(now) == f"{now:%H:%M:%S}"
    assert slipway.clock(datetime(2026, 5, 8, 14, 6, tzinfo=now.tzinfo)) == "8 May 2026"
    assert slipway.moment(datetime(2026, 5, 8, 14, 6, tzinfo=now.tzinfo)) == "8 May 2026, 14:06"


def test_ages() -> None:
    now = timezone.now()
    assert slipway.ago(now) == "just now"
    assert slipway.ago(now - timedelta(minutes=1, seconds=5)) == "1 minute ago"
    assert slipway.ago(now - timedelta(days=19)) == "19 days ago"
    assert slipway.ago(None) == "never"


def test_a_region_asks_for_the_same_page_with_its_filters() -> None:
    request = RequestFactory().get("/w/x/", {"show": "failed", "region": "other"})
    template = Template('<p id="a" {% live_region "endpoint-1 endpoint-2" "rows" %}>')
    text = template.render(Context({"request": request}))
    assert 'data-live="endpoint-1 endpoint-2"' in text
    assert 'data-region-url="/w/x/?show=failed&amp;region=rows"' in text


def test_a_page_link_changes_one_parameter_and_keeps_the_others() -> None:
    request = RequestFactory().get("/w/x/", {"show": "failed", "page": "3", "region": "rows"})
    render = lambda text: Template(text).render(Context({"request": request}))  # noqa: E731
    assert render("{% page_url page=4 %}") == "/w/x/?show=failed&amp;page=4"
    assert render("{% page_url show=None page=None %}") == "/w/x/"


def test_names_in_a_region_are_escaped() -> None:
    text = Template("{% shape name %}").render(Context({"name": '"><script>'}))
    assert "<script>" not in text


def test_a_time_says_its_exact_moment_for_scripts_and_for_whoever_points_at_it() -> None:
    at = datetime(2026, 5, 8, 14, 6, 12, tzinfo=UTC)
    assert slipway.when(at, "moment") == (
        '<time datetime="2026-05-08T14:06:12+00:00" data-form="moment" title="2026-05-08 14:06:12 UTC">'
        "8 May 2026, 14:06</time>"
    )
    assert slipway.when(None) == "–"
    assert slipway.in_utc(at) == "8 May 2026, 14:06 UTC"

"""Tags and filters of every page. Built in (settings), so templates need no {% load %}.

{% icon "key" 16 %}  {% shape "ok" %}  <section id="x" {% live_region "endpoint-12" "x" %}>
{% when at %}  {% when at "moment" %}  {{ at|ago }}
{{ n|bytes }}  {{ seconds|duration }}  {{ n|ms }}  {{ n|thousands }}
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.template import Context
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

THIN = "\u202f"  # a narrow no-break space between a figure and its unit
NOTHING = "–"
SHAPES = ("ok", "warn", "fail", "run", "idle", "wait")
# States of our models to the shapes of the visual language.
SHAPE_OF = {
    "succeeded": "ok", "healthy": "ok", "ready": "ok", "connected": "ok", "success": "ok",
    "degraded": "warn", "unauthorized": "fail", "warning": "warn",
    "failed": "fail", "unreachable": "fail", "error": "fail",
    "running": "run", "updating": "run", "scaling": "run", "installing": "run", "checking": "run", "building": "run",
    "info": "run",
    "waiting": "wait", "skipped": "idle", "cancelled": "idle", "stopped": "idle", "absent": "idle", "unknown": "idle",
}  # fmt: skip


@register.simple_tag
def icon(name: str, size: int = 16) -> SafeString:
    """A line icon of the sprite."""
    return format_html('<svg width="{}" height="{}" aria-hidden="true"><use href="#i-{}"/></svg>', size, size, name)


@register.filter
def shape_of(state: object) -> str:
    """The shape (ok, warn, fail, run, idle, wait) of a model's state."""
    name = str(state)
    return name if name in SHAPES else SHAPE_OF.get(name, "idle")


@register.simple_tag
def shape(state: object, size: int = 16) -> SafeString:
    """The shape of a state, in its colour. Say the state in words beside it (or in a .sr)."""
    return format_html(
        '<svg class="st" data-s="{}" width="{}" height="{}" aria-hidden="true"><use href="#i-{}"/></svg>',
        shape_of(state), size, size, shape_of(state),
    )  # fmt: skip


@register.simple_tag(takes_context=True)
def live_region(context: Context, topics: str, region: str) -> SafeString:
    """Attributes of an element with an id, fetched again by live.js when one of `topics` (space-separated) changes."""
    query = context["request"].GET.copy()
    query["region"] = region
    url = f"{context['request'].path}?{query.urlencode()}"
    return format_html('data-live="{}" data-region-url="{}"', topics, url)


@register.simple_tag(takes_context=True)
def page_url(context: Context, **changes: Any) -> str:
    """This page's address with some query parameters changed; None removes one."""
    query = context["request"].GET.copy()
    query.pop("region", None)
    for name, value in changes.items():
        query.pop(name, None)
        if value not in (None, ""):
            query[name] = str(value)
    return f"{context['request'].path}?{query.urlencode()}" if query else str(context["request"].path)


@register.filter
def clock(at: datetime | None) -> str:
    """14:06:12 today, 8 May 2026 on other days."""
    if at is None:
        return NOTHING
    local = timezone.localtime(at)
    if local.date() == timezone.localdate():
        return f"{local:%H:%M:%S}"
    return f"{local.day} {local:%b %Y}"


@register.filter
def moment(at: datetime | None) -> str:
    """14:06:12 today, 8 May 2026, 14:06 on other days."""
    if at is None or timezone.localtime(at).date() == timezone.localdate():
        return clock(at)
    return f"{clock(at)}, {timezone.localtime(at):%H:%M}"


@register.simple_tag
def when(at: datetime | None, form: str = "clock") -> SafeString | str:
    """A <time> in the form of `clock` or `moment`; page.js puts it into the viewer's own zone."""
    if at is None:
        return NOTHING
    text = moment(at) if form == "moment" else clock(at)
    exact = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return format_html('<time datetime="{}" data-form="{}" title="{}">{}</time>', at.isoformat(), form, exact, text)


def in_utc(at: datetime) -> str:
    """A moment inside a sentence, where no script can move it into the viewer's zone."""
    return f"{moment(at)} UTC"


@register.filter
def ago(at: datetime | None) -> str:
    """just now, 5 minutes ago, 19 days ago; only where the age is the point."""
    if at is None:
        return "never"
    seconds = (timezone.now() - at).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count >= 1:
            return f"{count:,} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


@register.simple_tag
def ticking(since: datetime) -> SafeString:
    """How long it has been since then; page.js counts on every second."""
    elapsed = max(0.0, (timezone.now() - since).total_seconds())
    text = duration(float(int(elapsed))).replace(f".0{THIN}s", f"{THIN}s")
    return format_html('<span data-elapsed="{}">{}</span>', round(elapsed, 1), text)


@register.filter
def duration(value: float | timedelta | None) -> str:
    """0.4 s, 51.9 s, 2 min 11 s, 3 h 5 min; from seconds or a timedelta."""
    if value is None:
        return NOTHING
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds < 60:
        return f"{seconds:.1f}{THIN}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}{THIN}min {rest}{THIN}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{THIN}h {minutes}{THIN}min"


@register.filter
def bytes(value: float | None) -> str:  # noqa: A001 - the filter's name in templates
    """512 B, 1.8 GiB."""
    if value is None:
        return NOTHING
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{amount:.0f}{THIN}{unit}" if unit == "B" or amount >= 100 else f"{amount:.1f}{THIN}{unit}"
        amount /= 1024
    return f"{amount:,.1f}{THIN}TiB"


@register.filter
def ms(value: float | None) -> str:
    """Milliseconds: 3.2 ms, 61 ms, 1.24 s."""
    if value is None:
        return NOTHING
    if value >= 1000:
        return f"{value / 1000:.2f}{THIN}s"
    return f"{value:.1f}{THIN}ms" if value < 10 else f"{value:.0f}{THIN}ms"


@register.filter
def thousands(value: float | None) -> str:
    """1,234,567; not known is a dash, never 0."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}"


@register.filter
def as_json(value: Any) -> str:
    """A value as indented JSON, to read."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)

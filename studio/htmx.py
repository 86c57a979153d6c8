"""The one file that knows HTMX.

A page template holds its regions as partials. Asked with `?region=NAME` by HTMX, a view answers with that partial
alone; asked by a browser, with the whole page. Both come from the same view, the same access check, the same context.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django_htmx.http import HttpResponseClientRedirect, reswap, trigger_client_event

Context = Mapping[str, Any]
Regions = Mapping[str, Callable[[], Context]] | Collection[str]
LEVELS = {"ok": messages.SUCCESS, "warn": messages.WARNING, "fail": messages.ERROR, "run": messages.INFO}


def wants_fragment(request: HttpRequest) -> bool:
    """Whether HTMX, not a browser's address bar, is asking."""
    return request.headers.get("HX-Request") == "true"


def render_page(
    request: HttpRequest, template: str, context: Context, *, regions: Regions = (), status: int = 200
) -> HttpResponse:
    """The whole page, or the partial `template#region` when HTMX asks with `?region=`.

    `regions` are the names this view allows. As a mapping its values are called for more context: all of them for a
    page, only the one asked for by a region, so that a refresh never pays for the rest of the page.
    """
    name = request.GET.get("region", "") if wants_fragment(request) else ""
    if name and name not in regions:
        raise Http404(f"This page has no region {name}.")
    whole = dict(context)
    if isinstance(regions, Mapping):
        for each in [name] if name else regions:
            whole |= regions[each]()
    response = render(request, f"{template}#{name}" if name else template, whole, status=status)
    response.headers["Vary"] = "HX-Request"
    response.headers["Cache-Control"] = "no-store"
    return response


def redirect(request: HttpRequest, url: str, *, text: str = "", state: str = "ok") -> HttpResponse:
    """Go to `url`, for browser and HTMX alike; `text` is shown there as a toast."""
    if text:
        messages.add_message(request, LEVELS[state], text)
    return HttpResponseClientRedirect(url) if wants_fragment(request) else HttpResponseRedirect(url)


def toast(response: HttpResponse, text: str, *, state: str = "ok") -> HttpResponse:
    """Show `text` for a few seconds beside what the response changes (HTMX only; for a redirect give it the text)."""
    return trigger_client_event(response, "toast", {"text": text, "state": state})


def refuse_quietly(text: str, *, status: int) -> HttpResponse:
    """An error as a toast: nothing on the page is replaced."""
    return reswap(toast(HttpResponse(status=status), text, state="fail"), "none")

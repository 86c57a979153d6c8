"""The Test tab: one request through the router, and what came back, in words."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from deployments import access, services
from deployments.models import Endpoint
from deployments.regions.answer import Answer, failed_answer, read_answer
from deployments.regions.endpoint import endpoint_head
from deployments.regions.sample import GENERIC, sample_body
from deployments.services.invoke import InvokeError
from deployments.views.endpoint import endpoint_context
from routerd.contract import PIN_HEADER
from studio.actor import actor_of
from studio.htmx import render_page
from studio.models import Role

_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class _Typed:
    body: str
    deployment: str


@require_http_methods(["GET", "POST"])
def try_endpoint(request: HttpRequest, workspace: str, endpoint: str) -> HttpResponse:
    """Send a request and show what came back."""
    sent = request.method == "POST"
    role = Role.DATA_SCIENTIST if sent else Role.READER
    found = access.endpoint_for(request, workspace, endpoint, role=role)
    sample = "" if sent else sample_body(found)
    typed = _Typed(request.POST.get("body", ""), request.POST.get("deployment", "")) if sent else _Typed(sample, "")
    answer = _send(request, found, typed) if sent else None
    context = endpoint_context(request, found, tab="test") | {
        "typed": typed,
        "from_sample": bool(sample) and sample != GENERIC,
        "names": list(found.deployments.order_by("name").values_list("name", flat=True)),
        "pin_header": PIN_HEADER,
        "answer": answer,
    }
    context |= _may_call(context)
    regions: dict[str, Any] = {
        "head": lambda: {"head": endpoint_head(found, now=timezone.now())},
        "answer": dict,
    }
    return render_page(request, "deployments/endpoint_test.html", context, regions=regions)


def _may_call(context: dict[str, Any]) -> dict[str, Any]:
    if not context["names"]:
        return {"may_call": False, "why_not": "There is no deployment yet that could answer."}
    if not context["may_change"]:
        return {"may_call": False, "why_not": "This needs the role Data scientist."}
    return {"may_call": True, "why_not": ""}


def _send(request: HttpRequest, endpoint: Endpoint, typed: _Typed) -> Answer:
    pinned = access.deployment_for(endpoint, typed.deployment) if typed.deployment else None
    try:
        result = services.invoke(endpoint, deployment=pinned, headers=_JSON, body=typed.body, actor=actor_of(request))
    except InvokeError as error:
        return failed_answer(str(error))
    return read_answer(result)

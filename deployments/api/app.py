"""The Ninja application: its routers and how errors leave it."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.security import django_auth

from deployments.api import deployments, endpoints, operations
from studio.errors import FieldErrors, SlipwayError

api = NinjaAPI(title="Slipway", version="1", auth=django_auth, urls_namespace="api")
api.add_router("", endpoints.router)
api.add_router("", deployments.router)
api.add_router("", operations.router)


def _problem(status: int, *, title: str, detail: str, **more: Any) -> HttpResponse:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return JsonResponse(body, status=status, content_type="application/problem+json")


@api.exception_handler(SlipwayError)
def _refused(_: HttpRequest, error: SlipwayError) -> HttpResponse:
    if isinstance(error, FieldErrors):
        return _problem(error.status, title="Fields need a change", detail=error.message, errors=error.errors)
    return _problem(error.status, title="Not possible now", detail=error.message)


@api.exception_handler(DataError)
def _not_storable(_: HttpRequest, error: DataError) -> HttpResponse:  # noqa: ARG001 - Ninja's signature
    return _problem(400, title="Not storable", detail="A value is too long, or holds a character that is none.")


@api.exception_handler(PermissionDenied)
def _forbidden(_: HttpRequest, error: PermissionDenied) -> HttpResponse:
    return _problem(403, title="Not allowed", detail=str(error))


@api.exception_handler(Http404)
def _missing(_: HttpRequest, error: Http404) -> HttpResponse:
    return _problem(404, title="Not found", detail=str(error))

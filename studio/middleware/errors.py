"""Turns the errors people can read into an answer in the form that was asked for: page, toast, or problem+json."""

from collections.abc import Callable

from django.db import DataError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from studio.errors import FieldErrors, SlipwayError
from studio.htmx import refuse_quietly, wants_fragment

NOT_STORABLE = (
    "Something that was sent cannot be kept: it is too long, or it holds a character that is none. Nothing was changed."
)


class NotStorableError(SlipwayError):
    """PostgreSQL refuses a value, where SQLite would have taken it."""

    status = 400


class ErrorsForPeople:
    """A SlipwayError that a view let through is an answer, not a crash."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Called by Django; None leaves the exception to it."""
        if isinstance(exception, DataError):
            exception = NotStorableError(NOT_STORABLE)
        return answer(request, exception) if isinstance(exception, SlipwayError) else None


def answer(request: HttpRequest, error: SlipwayError) -> HttpResponse:
    """The response of a readable error."""
    if request.path.startswith("/api/"):
        return problem(error)
    if wants_fragment(request):
        return refuse_quietly(error.message, status=error.status)
    return render(request, "studio/message.html", {"heading": "Not done", "text": error.message}, status=error.status)


def problem(error: SlipwayError) -> JsonResponse:
    """RFC 9457, with `errors` by field path where there are some."""
    body: dict[str, object] = {"type": "about:blank", "title": type(error).__name__, "status": error.status}
    body["detail"] = error.message
    if isinstance(error, FieldErrors):
        body |= {"title": "Some fields need a change", "errors": error.errors}
    return JsonResponse(body, status=error.status, content_type="application/problem+json")

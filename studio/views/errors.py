"""Pages for what went wrong: each says what is so and where to go on."""

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from studio.access import RoleNeeded
from studio.htmx import refuse_quietly, wants_fragment


def _answer(request: HttpRequest, *, status: int, heading: str, text: str) -> HttpResponse:
    if request.path.startswith("/api/"):
        body = {"type": "about:blank", "title": heading, "status": status, "detail": text}
        return JsonResponse(body, status=status, content_type="application/problem+json")
    if wants_fragment(request):
        return refuse_quietly(text, status=status)
    user = getattr(request, "user", None)  # absent when the request was refused before it got that far
    if user is None or not user.is_authenticated:
        return _plain(heading, text, status=status)
    return render(request, "studio/message.html", {"heading": heading, "text": text}, status=status)


def _plain(heading: str, text: str, *, status: int) -> HttpResponse:
    """A page without the frame, drawn without a look at the database."""
    return HttpResponse(render_to_string("studio/plain.html", {"heading": heading, "text": text}), status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """400."""
    text = "The studio could not read this request. Go back, load the page again and repeat it."
    return _answer(request, status=400, heading="Not understood", text=text)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403: a member without the role that is needed."""
    text = (
        str(exception)
        if isinstance(exception, PermissionDenied) and str(exception)
        else "Your role does not allow this."
    )
    heading = f"For the role {exception.needed.label}" if isinstance(exception, RoleNeeded) else "Not allowed"
    return _answer(request, status=403, heading=heading, text=text)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: also what a stranger gets."""
    said = exception.args[0] if isinstance(exception, Http404) and exception.args else ""
    text = said if isinstance(said, str) and said else "There is nothing at this address, or it is not yours to see."
    return _answer(request, status=404, heading="Not found", text=text)


def broken(request: HttpRequest) -> HttpResponse:
    """500: drawn without a look at the database, which may be what broke."""
    if request.path.startswith("/api/"):
        body = {"type": "about:blank", "title": "Something broke", "status": 500}
        return JsonResponse(body, status=500, content_type="application/problem+json")
    text = (
        "Slipway made a mistake with this page. Callers of your endpoints are not affected by it. "
        "The studio's log has the details; try again, and report it if it stays."
    )
    return _plain("Something broke", text, status=500)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001 - Django's signature
    """403: the form is from an older session."""
    text = "This form was opened before you signed in, or in another session. Load the page again and repeat it."
    return _answer(request, status=403, heading="Form out of date", text=text)

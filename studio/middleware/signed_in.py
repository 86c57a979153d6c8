"""Every page asks for a sign-in unless its view says otherwise (`@login_not_required`)."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django_htmx.http import HttpResponseClientRedirect

from studio.htmx import wants_fragment


class SignedInUnlessApi(LoginRequiredMiddleware):
    """Django's own, but for /api/, which answers 401 by itself, and for HTMX, which follows no redirect of a page."""

    def process_view(
        self, request: HttpRequest, view_func: Callable[..., Any], view_args: Any, view_kwargs: Any
    ) -> HttpResponseBase | None:
        if request.path.startswith("/api/"):
            return None
        return super().process_view(request, view_func, view_args, view_kwargs)

    def handle_no_permission(  # type: ignore[override]
        self, request: HttpRequest, view_func: Callable[..., Any]
    ) -> HttpResponseBase:
        if wants_fragment(request):
            page = request.headers.get("HX-Current-URL", "")
            path = page[page.find("/", page.find("://") + 3) :] if "://" in page else "/"
            return HttpResponseClientRedirect(redirect_to_login(path).url)
        return super().handle_no_permission(request, view_func)

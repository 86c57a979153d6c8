"""Coming in and going out, and where one lands."""

from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.decorators import login_not_required
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from studio.access import workspace_for
from studio.models import Membership
from studio.sockets.session import look_again

TRIES = 5
PAUSE = 600  # seconds without a try until they are counted from the start


@login_not_required
@sensitive_post_parameters("password")
@csrf_protect
@never_cache
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """The page before the first page. `next` is where the person wanted to go."""
    wanted = request.POST.get("next") or request.GET.get("next", "")
    if not url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()}):
        wanted = reverse("home")
    error = _try_password(request) if request.method == "POST" else ""
    if request.user.is_authenticated:
        return HttpResponseRedirect(wanted)
    typed = {"username": request.POST.get("username", ""), "stay": "stay" in request.POST or request.method == "GET"}
    return render(request, "studio/sign_in.html", {"error": error, "next": wanted, **typed})


def _try_password(request: HttpRequest) -> str:
    """Sign the person in, or say why not. Tries are counted per user name and address."""
    username, password = request.POST.get("username", "").strip(), request.POST.get("password", "")
    key = f"sign-in/{username.lower()[:150].encode().hex()[:200]}/{request.META.get('REMOTE_ADDR')}"
    used: int = cache.get(key, 0)
    if used >= TRIES:
        return "Too many tries. Wait 10 minutes, then try again."
    user = authenticate(request, username=username, password=password)
    if user is None:
        cache.set(key, used + 1, PAUSE)
        return f"User name and password do not match. {_tries_left(TRIES - used - 1)}"
    cache.delete(key)
    login(request, user)
    if "stay" not in request.POST:
        request.session.set_expiry(0)
    return ""


def _tries_left(left: int) -> str:
    if left == 0:
        return "The next try is possible in 10 minutes."
    return f"{left} {'try is' if left == 1 else 'tries are'} left before a pause of 10 minutes."


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    leaver = request.user.pk
    logout(request)
    if leaver is not None:
        look_again(leaver)  # after the session is gone: open sockets of it are closed
    return redirect("sign-in")


def home(request: HttpRequest) -> HttpResponse:
    """To the first workspace of the person."""
    name = (
        Membership.objects.filter(user_id=request.user.pk or 0)
        .order_by("workspace__created_at", "pk")
        .values_list("workspace__name", flat=True)
        .first()
    )
    if name:
        return redirect("workspace", name)
    return render(
        request,
        "studio/message.html",
        {
            "heading": "No workspace yet",
            "text": "Your account belongs to no workspace. An owner of one can add you.",
            "state": "idle",
            "back_label": "Look again",
        },
    )


def workspace_home(request: HttpRequest, workspace: str) -> HttpResponse:
    """A workspace begins with its endpoints."""
    return redirect("deployments:endpoint-list", workspace_for(request, workspace).name)

"""Whose socket it is, and whether it still is: rights change while a page stays open."""

from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.db import transaction
from django.http import HttpRequest

from studio.live import send_to_group
from studio.models import Membership

UNAUTHENTICATED = 4401  # close codes of ours, after HTTP's
NOT_FOUND = 4404


def person_group(user_id: int) -> str:
    """The group of every open socket of one person."""
    return f"person.{user_id}"


def still_signed_in(scope: dict[str, Any]) -> bool:
    """Whether the session the socket was opened with still belongs to its person."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(scope["session"].session_key)
    return bool(get_user(request).pk == scope["user"].pk)


def look_again(user_id: int) -> None:
    """Have every open socket of a person check what that person may still see."""
    send_to_group(person_group(user_id), {"type": "person.changed"})


def look_again_after_membership(instance: Membership, **_: Any) -> None:
    """Signal: a role was given, changed or taken."""
    transaction.on_commit(lambda: look_again(instance.user_id))

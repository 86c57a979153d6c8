"""Who does something: a person at an address, or Slipway itself."""

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.http import HttpRequest


@dataclass(frozen=True)
class Actor:
    """The author of a change. `user` is None for Slipway itself; `address` is their IP address, if there is one."""

    user: User | None
    name: str
    address: str | None


SLIPWAY = Actor(user=None, name="slipway", address=None)


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person behind a request. Views call this after the access check, so there always is one."""
    user = request.user
    if not isinstance(user, User):
        raise TypeError("actor_of() needs a signed-in person; check access first.")
    return Actor(user=user, name=user.get_username(), address=request.META.get("REMOTE_ADDR") or None)

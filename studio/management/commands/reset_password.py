"""manage.py reset_password [user]: give somebody a new password, printed once."""

import secrets
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Give a user a new password and print it. Their open sessions end."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", nargs="?", help="user name; not needed when there is only one user")

    def handle(self, *_: Any, user: str | None, **__: Any) -> None:
        person = _find(user)
        password = secrets.token_urlsafe(12)
        person.set_password(password)
        person.save(update_fields=["password"])
        self.stdout.write(f"User: {person.get_username()}\nPassword: {password}")


def _find(name: str | None) -> User:
    people = User.objects.filter(username=name) if name else User.objects.order_by("pk")
    first = people.first()
    if first is None:
        raise CommandError(
            f"There is no user {name}." if name else "There is no user yet. Start the studio once first."
        )
    if name is None and people.count() > 1:
        names = ", ".join(people.values_list("username", flat=True)[:20])
        raise CommandError(f"There are several users; say which: {names}.")
    return first

"""manage.py make_workspace NAME --owner USER: a workspace and its first owner, who lets others in."""

import re
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from studio.actor import SLIPWAY
from studio.errors import FieldErrors
from studio.models import Role, Workspace
from studio.services.members import add_member

_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class Command(BaseCommand):
    help = "Make a workspace with its first owner. An account that is not there yet gets a password, printed once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="1 to 63 small letters, digits or dashes")
        parser.add_argument("--owner", required=True, help="user name")

    def handle(self, *_: Any, name: str, owner: str, **__: Any) -> None:
        if not _NAME.match(name):
            raise CommandError(f"{name} cannot be a workspace's name: 1 to 63 small letters, digits or dashes.")
        try:
            with transaction.atomic():
                workspace, made = Workspace.objects.get_or_create(name=name)
                if not made:
                    raise CommandError(f"There is a workspace {name} already. Its owners let others in.")
                added = add_member(workspace, username=owner, role=Role.OWNER, actor=SLIPWAY)
        except FieldErrors as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"Workspace: {name}\nUser: {added.user.get_username()}")
        self.stdout.write(f"Password: {added.password}" if added.password else "Password: as before")

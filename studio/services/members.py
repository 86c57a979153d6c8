"""Who belongs to a workspace, and as what. There is always an owner."""

import secrets
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import transaction

from studio.actor import Actor
from studio.errors import FieldErrors, SlipwayError
from studio.models import Membership, Role, Workspace
from studio.services.audit import record
from studio.services.subject import Subject


class LastOwnerError(SlipwayError):
    """A workspace would be left without an owner."""


@dataclass(frozen=True)
class Added:
    """A new member; `password` only where the account was made just now, and never to be had again."""

    user: User
    password: str | None


def add_member(workspace: Workspace, *, username: str, role: Role, actor: Actor) -> Added:
    """Let somebody in; an account that is not there yet is made, with a password to pass on."""
    name = username.strip()
    try:
        UnicodeUsernameValidator()(name)
    except ValidationError:
        raise FieldErrors({"username": ["Letters, digits and @ . + - _ make a user name."]}) from None
    if len(name) > 150:
        raise FieldErrors({"username": ["At most 150 characters."]})
    with transaction.atomic():
        user, password = _find_or_make(name)
        _, made = Membership.objects.get_or_create(workspace=workspace, user=user, defaults={"role": role})
        if not made:
            raise FieldErrors({"username": [f"{name} belongs to {workspace} already; change the role in the list."]})
        record(actor, workspace=workspace, action="member.add", subject=_subject(user), after={"role": role.value})
    return Added(user=user, password=password)


def _find_or_make(name: str) -> tuple[User, str | None]:
    found = User.objects.filter(username=name).first()
    if found is not None:
        return found, None
    password = secrets.token_urlsafe(12)
    return User.objects.create_user(name, password=password), password


def set_role(workspace: Workspace, *, user: User, role: Role, actor: Actor) -> None:
    """Give a member another role. Raises LastOwnerError."""
    with transaction.atomic():
        membership = Membership.objects.select_for_update().get(workspace=workspace, user=user)
        before = Role(membership.role)
        if before == role:
            return
        _keep_an_owner(membership)
        membership.role = role
        membership.save(update_fields=["role"])
        record(
            actor,
            workspace=workspace,
            action="member.role",
            subject=_subject(user),
            before={"role": before.value},
            after={"role": role.value},
        )


def remove_member(workspace: Workspace, *, user: User, actor: Actor) -> None:
    """Put a member out; their account stays. Raises LastOwnerError."""
    with transaction.atomic():
        membership = Membership.objects.select_for_update().get(workspace=workspace, user=user)
        _keep_an_owner(membership)
        membership.delete()
        before = {"role": membership.role}
        record(actor, workspace=workspace, action="member.remove", subject=_subject(user), before=before)


def _keep_an_owner(membership: Membership) -> None:
    owners = Membership.objects.select_for_update().filter(workspace=membership.workspace, role=Role.OWNER)
    if membership.role == Role.OWNER and owners.count() == 1:
        raise LastOwnerError(
            f"{membership.user} is the only owner of {membership.workspace}. Make somebody else an owner first."
        )


def _subject(user: User) -> Subject:
    return Subject(kind="person", id=str(user.pk), label=user.get_username())

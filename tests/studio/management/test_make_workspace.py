"""manage.py make_workspace."""

from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from studio.models import Membership, Workspace


def make(name: str, owner: str) -> str:
    out = StringIO()
    call_command("make_workspace", name, "--owner", owner, stdout=out)
    return out.getvalue()


def test_a_first_owner_gets_a_password_that_works(db: None) -> None:
    said = dict(line.split(": ", 1) for line in make("harbour", "erin").strip().splitlines())
    assert Client().login(username="erin", password=said["Password"])
    assert Membership.objects.get(workspace__name="harbour").role == "owner"


def test_somebody_who_has_an_account_keeps_its_password(alice: User) -> None:
    assert "Password: as before" in make("quay", "alice")
    assert Client().login(username="alice", password="harbourlight")


@pytest.mark.parametrize(("name", "owner"), [("harbour", "alice"), ("No", "alice"), ("quay", "a b")])
def test_what_cannot_be_made_changes_nothing(name: str, owner: str, alice: User) -> None:
    with pytest.raises(CommandError):
        make(name, owner)
    assert list(Workspace.objects.values_list("name", flat=True)) == ["harbour"]

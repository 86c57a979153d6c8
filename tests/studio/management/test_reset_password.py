"""manage.py reset_password."""

from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client


def reset(*args: str) -> dict[str, str]:
    out = StringIO()
    call_command("reset_password", *args, stdout=out)
    return dict(line.split(": ", 1) for line in out.getvalue().strip().splitlines())


def test_the_only_user_needs_no_name_and_the_new_password_works(bob: User) -> None:
    said = reset()
    assert said["User"] == "bob"
    assert Client().login(username="bob", password=said["Password"])


def test_open_sessions_end_with_the_old_password(bob: User, client: Client) -> None:
    client.force_login(bob)
    reset("bob")
    assert client.get("/w/harbour/audit/").status_code == 302


def test_among_several_one_must_be_named(alice: User, bob: User) -> None:
    with pytest.raises(CommandError, match="say which: alice, bob"):
        reset()
    assert reset("alice")["User"] == "alice"


def test_an_unknown_name_is_said(db: None) -> None:
    with pytest.raises(CommandError, match="There is no user dora"):
        reset("dora")
    with pytest.raises(CommandError, match="no user yet"):
        reset()

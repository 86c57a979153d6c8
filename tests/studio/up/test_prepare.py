"""The first user of a home: a password that someone has seen."""

from pathlib import Path

import pytest
from django.contrib.auth import authenticate

from studio.models import Membership, Role
from studio.up.prepare import ensure_account, password_told


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    return tmp_path


@pytest.mark.django_db
def test_the_first_user_owns_the_workspace_and_may_sign_in(home: Path) -> None:
    account = ensure_account(home)
    assert authenticate(username=account.user, password=account.password)
    assert Membership.objects.get(user__username=account.user).role == Role.OWNER


@pytest.mark.django_db
def test_a_start_that_was_killed_before_it_told_the_password_is_followed_by_one_that_tells_a_new_one(
    home: Path,
) -> None:
    ensure_account(home)
    again = ensure_account(home)
    assert authenticate(username=again.user, password=again.password)


@pytest.mark.django_db
def test_a_password_that_was_told_stays(home: Path) -> None:
    told = ensure_account(home)
    password_told(home)
    assert ensure_account(home).password == ""
    assert authenticate(username=told.user, password=told.password)

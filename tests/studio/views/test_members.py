"""People and roles: owners grant them, and there is always an owner."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from studio.models import AuditEntry, Membership, Role, Workspace

ClientOf = Callable[[User], Client]
PEOPLE = "/w/harbour/people/"


def role_of(user: User) -> str | None:
    return Membership.objects.filter(user=user).values_list("role", flat=True).first()


def test_an_owner_gives_a_role_and_it_is_written_down(alice: User, bob: User, client_of: ClientOf) -> None:
    response = client_of(alice).post(f"{PEOPLE}{bob.pk}/role", {"role": "operator"}, follow=True)
    assert "bob is Operator now." in response.content.decode()
    assert role_of(bob) == Role.OPERATOR
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.before, entry.after) == (
        "member.role",
        {"role": "data-scientist"},
        {"role": "operator"},
    )


@pytest.mark.parametrize("path", ["role", "remove"])
def test_nobody_but_an_owner_changes_anybody(
    path: str, alice: User, bob: User, charlie: User, client_of: ClientOf
) -> None:
    assert client_of(bob).post(f"{PEOPLE}{bob.pk}/{path}", {"role": "owner"}).status_code == 403
    assert client_of(charlie).post(f"{PEOPLE}{bob.pk}/{path}", {"role": "owner"}).status_code == 404
    assert client_of(bob).post(PEOPLE, {"username": "dora", "role": "owner"}).status_code == 403
    assert role_of(bob) == Role.DATA_SCIENTIST
    assert not User.objects.filter(username="dora").exists()


@pytest.mark.parametrize("path", ["role", "remove"])
def test_the_last_owner_stays(path: str, alice: User, bob: User, client_of: ClientOf) -> None:
    response = client_of(alice).post(f"{PEOPLE}{alice.pk}/{path}", {"role": "reader"}, follow=True)
    assert "alice is the only owner of harbour." in response.content.decode()
    assert role_of(alice) == Role.OWNER


def test_a_new_person_gets_a_password_that_is_shown_once(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    text = client.post(PEOPLE, {"username": "dora", "role": "reader"}).content.decode()
    password = text.split('data-copy="')[1].split('"')[0]
    assert Client().login(username="dora", password=password)
    assert password not in client.get(PEOPLE).content.decode()
    assert password not in str(list(AuditEntry.objects.values()))


def test_somebody_with_an_account_keeps_their_password(alice: User, charlie: User, client_of: ClientOf) -> None:
    before = charlie.password
    text = client_of(alice).post(PEOPLE, {"username": "charlie", "role": "reader"}).content.decode()
    charlie.refresh_from_db()
    assert charlie.password == before
    assert "data-copy" not in text


@pytest.mark.parametrize(("name", "said"), [("bob", "belongs to harbour already"), ("a b", "Letters, digits")])
def test_what_is_wrong_is_said_at_the_field_and_what_was_typed_stays(
    name: str, said: str, alice: User, bob: User, client_of: ClientOf
) -> None:
    response = client_of(alice).post(PEOPLE, {"username": name, "role": "operator"})
    text = response.content.decode()
    assert response.status_code == 422
    assert text.count(said) == 2
    assert f'value="{name}"' in text
    assert 'value="operator" checked' in text


def test_removing_somebody_takes_the_workspace_from_them(alice: User, bob: User, client_of: ClientOf) -> None:
    theirs = client_of(bob)
    assert theirs.get(PEOPLE).status_code == 200
    client_of(alice).post(f"{PEOPLE}{bob.pk}/remove")
    assert theirs.get(PEOPLE).status_code == 404
    assert User.objects.filter(username="bob").exists()


def test_the_list_asks_no_more_for_three_people_than_for_one(
    workspace: Workspace, alice: User, client_of: ClientOf
) -> None:
    client = client_of(alice)

    def queries() -> int:
        client.get(PEOPLE)
        with CaptureQueriesContext(connection) as seen:
            client.get(PEOPLE)
        return len(seen)

    one = queries()
    for name in ("dora", "emil"):
        Membership.objects.create(workspace=workspace, user=User.objects.create(username=name), role=Role.READER)
    assert queries() == one

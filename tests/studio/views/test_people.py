"""Signing in and out, and what nobody gets to see."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

from studio.models import Membership, Workspace
from tests.conftest import PASSWORD


@pytest.fixture(autouse=True)
def no_tries_yet() -> None:
    cache.clear()


def try_in(client: Client, password: str, name: str = "bob", **more: str) -> str:
    return client.post("/sign-in", {"username": name, "password": password, **more}).content.decode()


def test_the_right_password_leads_to_where_one_wanted_to_go(client: Client, bob: User) -> None:
    response = client.get("/w/harbour/audit/")
    assert response.url == "/sign-in?next=/w/harbour/audit/"  # type: ignore[attr-defined]
    answer = client.post("/sign-in", {"username": "bob", "password": PASSWORD, "next": "/w/harbour/audit/"})
    assert answer.url == "/w/harbour/audit/"  # type: ignore[attr-defined]
    assert client.get("/w/harbour/audit/").status_code == 200


@pytest.mark.parametrize("target", ["https://elsewhere.example/", "//elsewhere.example/", "javascript:alert(1)"])
def test_nobody_is_sent_to_another_site(target: str, client: Client, bob: User) -> None:
    answer = client.post("/sign-in", {"username": "bob", "password": PASSWORD, "next": target})
    assert answer.url == "/"  # type: ignore[attr-defined]


def test_a_wrong_password_says_how_many_tries_are_left_and_keeps_the_name(client: Client, bob: User) -> None:
    text = try_in(client, "wrong")
    assert "4 tries are left" in text
    assert 'value="bob"' in text
    assert "wrong" not in text


def test_after_five_wrong_tries_even_the_right_password_waits(client: Client, bob: User) -> None:
    for _ in range(5):
        try_in(client, "wrong")
    assert "Wait 10 minutes" in try_in(client, PASSWORD)
    assert "_auth_user_id" not in client.session
    assert "_auth_user_id" in in_session_of("alice-is-not-locked", client)


def in_session_of(name: str, client: Client) -> list[str]:
    User.objects.create_user(name, password=PASSWORD)
    try_in(client, PASSWORD, name=name)
    return list(client.session.keys())


def test_without_staying_the_session_ends_with_the_browser(client: Client, bob: User) -> None:
    try_in(client, PASSWORD)
    assert client.session.get_expire_at_browser_close()
    client.post("/sign-out")
    try_in(client, PASSWORD, stay="on")
    assert not client.session.get_expire_at_browser_close()


def test_signing_out_ends_it_and_a_link_cannot_do_it(bob: User, client_of: Callable[[User], Client]) -> None:
    client = client_of(bob)
    assert client.get("/sign-out").status_code == 405
    client.post("/sign-out")
    assert client.get("/w/harbour/audit/").status_code == 302


def test_a_form_of_another_site_is_refused(bob: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    response = client.post("/sign-out")
    assert response.status_code == 403
    assert "Form out of date" in response.content.decode()


def test_htmx_of_a_signed_out_page_is_led_to_the_sign_in(client: Client, workspace: Workspace) -> None:
    response = client.get(
        "/w/harbour/audit/", headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/w/harbour/audit/"}
    )
    assert response.headers["HX-Redirect"] == "/sign-in?next=/w/harbour/audit/"


def test_somebody_without_a_workspace_is_told_so(bob: User, client_of: Callable[[User], Client]) -> None:
    Membership.objects.all().delete()
    assert "belongs to no workspace" in client_of(bob).get("/").content.decode()


def test_every_page_carries_the_headers_that_keep_it_to_itself(client: Client, db: None) -> None:
    headers = client.get("/sign-in").headers
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "DENY"


def test_a_page_holds_no_inline_script(client: Client, db: None) -> None:
    text = client.get("/sign-in").content.decode()
    assert "<script>" not in text
    assert " onclick" not in text

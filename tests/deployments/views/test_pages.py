"""Every page of the app opens, for those who may see it, and for nobody else."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from deployments.models import Endpoint

PAGES = (
    "endpoints/",
    "endpoints/new",
    "endpoints/address-match/",
    "endpoints/address-match/logs/",
    "endpoints/address-match/test/",
    "endpoints/address-match/consume/",
    "endpoints/address-match/metrics/",
    "endpoints/address-match/metrics/figures",
    "endpoints/address-match/history/",
    "endpoints/address-match/deployments/new",
    "endpoints/address-match/deployments/new?yaml=",
    "endpoints/address-match/deployments/blue/edit",
    "endpoints/address-match/deployments/blue/edit?yaml=",
    "models/",
    "models/new",
    "models/address-bert/12/",
    "environments/",
    "environments/new",
    "environments/torch-cpu/4/",
)
CHANGES = (
    "endpoints/new",
    "endpoints/address-match/deployments/new",
    "endpoints/address-match/deployments/blue/edit",
    "models/new",
    "environments/new",
)
POSTS = (
    "endpoints/new",
    "endpoints/address-match/",
    "endpoints/address-match/delete",
    "endpoints/address-match/test/",
    "endpoints/address-match/keys/primary/show",
    "endpoints/address-match/keys/primary/rotate",
    "endpoints/address-match/deployments/new",
    "endpoints/address-match/deployments/blue/delete",
    "endpoints/address-match/deployments/blue/again",
    "models/new",
    "environments/new",
)


@pytest.mark.parametrize("page", PAGES)
def test_a_member_opens_the_page(page: str, address_match: Endpoint, as_bob: Client) -> None:
    response = as_bob.get(f"/w/harbour/{page}")
    assert response.status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_finds_nothing(
    page: str, address_match: Endpoint, charlie: User, client_of: Callable[[User], Client]
) -> None:
    assert client_of(charlie).get(f"/w/harbour/{page}").status_code == 404


@pytest.mark.parametrize("page", CHANGES)
def test_a_reader_may_not_open_what_changes_something(
    page: str, address_match: Endpoint, reader: User, client_of: Callable[[User], Client]
) -> None:
    assert client_of(reader).get(f"/w/harbour/{page}").status_code == 403


@pytest.mark.parametrize("page", POSTS)
def test_a_reader_may_not_send_what_changes_something(
    page: str, address_match: Endpoint, reader: User, client_of: Callable[[User], Client]
) -> None:
    response = client_of(reader).post(f"/w/harbour/{page}")
    assert response.status_code == 403
    address_match.refresh_from_db()
    assert address_match.traffic == {"blue": 80, "green": 20}


@pytest.mark.parametrize("page", POSTS)
def test_a_stranger_sends_into_nothing(
    page: str, address_match: Endpoint, charlie: User, client_of: Callable[[User], Client]
) -> None:
    assert client_of(charlie).post(f"/w/harbour/{page}").status_code == 404

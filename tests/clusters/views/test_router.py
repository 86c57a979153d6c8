"""The form of the router's settings."""

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from clusters.forms.router import values_of
from clusters.install.settings import RouterSettings, from_json, to_json
from clusters.models import Cluster
from studio.models import Workspace
from tests.clusters.views.test_pages import add_cluster

SETTINGS = RouterSettings(
    image="registry.example.org/slipway-routerd:0.1.0",
    service_type="NodePort",
    node_port=30080,
    replicas=3,
    address="https://score.example.org",
    pull_secret="registry",
    tls_secrets="slipway-tls example-com",
    plain_http="refuse",
    log_sample=100,
)


@pytest.fixture
def quay(workspace: Workspace) -> Cluster:
    return add_cluster(workspace, router_settings=to_json(SETTINGS))


def test_sending_the_form_as_it_is_shown_changes_nothing(
    quay: Cluster, alice: User, client_of: Callable[[User], Client]
) -> None:
    client = client_of(alice)
    page = client.get("/w/harbour/clusters/quay/router").content.decode()
    names = set(re.findall(r'<(?:input|select|textarea)[^>]* name="(\w+)"', page)) - {"csrfmiddlewaretoken"}
    assert names == to_json(SETTINGS).keys()
    assert re.search(r'value="refuse"[^>]* checked', page)
    answer = client.post("/w/harbour/clusters/quay/router", values_of(SETTINGS))
    assert answer.status_code == 302
    quay.refresh_from_db()
    assert from_json(quay.router_settings) == SETTINGS


def test_refusing_plain_http_without_a_certificate_is_named_and_keeps_what_was_typed(
    quay: Cluster, alice: User, client_of: Callable[[User], Client]
) -> None:
    typed = values_of(SETTINGS) | {"tls_secrets": "", "replicas": "5"}
    answer = client_of(alice).post("/w/harbour/clusters/quay/router", typed)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "Needs a certificate: without TLS nobody could call." in page
    assert re.search(r'name="replicas"[^>]* value="5"', page)
    quay.refresh_from_db()
    assert from_json(quay.router_settings) == SETTINGS

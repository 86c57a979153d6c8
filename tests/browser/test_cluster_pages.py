"""The pages of clusters in a real browser, on a real cluster: attached by hand, true without a reload."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from clusters.models import Cluster
from tests.browser.conftest import Complaints
from tests.clusters.conftest import RunningCluster, running_cluster

__all__ = ["running_cluster"]
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PAGES = (
    "clusters/",
    "clusters/quay/",
    "clusters/attach",
    "clusters/quay/router",
    "compute-targets/",
    "instance-types/",
)


def test_a_cluster_is_attached_by_hand_and_the_page_follows_the_checks(
    page_of: Callable[[User], Page], alice: User, running_cluster: RunningCluster, celery_worker: Any
) -> None:
    page = page_of(alice)
    page.goto("/w/harbour/clusters/")
    page.get_by_role("link", name="Attach a cluster").click()
    page.get_by_label("Name").fill("quay")
    page.get_by_label("Kubeconfig", exact=True).fill(running_cluster.kubeconfig)
    page.get_by_role("button", name="Attach the cluster").click()

    expect(page.get_by_text("Connected, without a router.")).to_be_visible()
    expect(page.get_by_text("1 of 1 ready")).to_be_visible()
    expect(page.get_by_text("Not enforced here")).to_be_visible()

    page.get_by_role("link", name="Install the router").click()
    expect(page.get_by_label("Image")).to_have_value("")
    assert Cluster.objects.get().state == "connected"


def test_what_is_wrong_with_a_kubeconfig_stands_at_its_field(
    page_of: Callable[[User], Page], alice: User, complaints: Complaints
) -> None:
    page = page_of(alice)
    page.goto("/w/harbour/clusters/attach")
    page.get_by_label("Name").fill("quay")

    with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        page.get_by_label("Kubeconfig", exact=True).fill("hello")
        page.get_by_role("button", name="Attach the cluster").click()

    assert answered.value.status == 422
    expect(page.get_by_role("alert")).to_contain_text("1 field needs a change")
    expect(page.get_by_label("Kubeconfig", exact=True)).to_have_value("hello")
    complaints.found.clear()  # the browser notes the 422
    page.get_by_role("alert").get_by_role("link", name="Kubeconfig").click()
    expect(page.get_by_label("Kubeconfig", exact=True)).to_be_focused()

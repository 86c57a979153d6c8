"""What must be true of every page: it fits a phone, has one heading, every id once, and no name under a button."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as NotInTime

from clusters.models import ComputeTarget
from deployments.models import Endpoint, Environment, Model
from studio.models import Workspace
from tests.clusters.views.test_pages import CHANGES as PLACES_CHANGES
from tests.clusters.views.test_pages import PAGES as PLACES
from tests.clusters.views.test_pages import add_cluster
from tests.deployments import world
from tests.deployments.views.test_pages import PAGES as WORK

ROOM = ("operations/", "people/", "audit/", "there-is-no-such-page/")
LONG = "an-endpoint-with-32-characters-x"
LOOK = """() => {
    const lines = function* (node) {
        const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT), range = new Range()
        for (let text = walker.nextNode(); text; text = walker.nextNode()) {
            range.selectNodeContents(text)
            if (!text.parentElement.closest(".sr, title")) yield* range.getClientRects()
        }
    }
    const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
    const covered = [...document.querySelectorAll("tr > .corner:has(.btn)")].filter((corner) => {
        const button = corner.querySelector(".btn").getBoundingClientRect()
        return [...lines(corner.parentElement.querySelector("th"))].some((line) => meet(line, button))
    })
    const ids = [...document.querySelectorAll("[id]")].map((each) => each.id)
    return {
        width: document.documentElement.scrollWidth,
        covered: covered.map((corner) => corner.parentElement.textContent.trim()),
        headings: document.querySelectorAll("h1").length,
        twice: ids.filter((id, place) => ids.indexOf(id) !== place),
    }
}"""


def fill(workspace: Workspace, *, owner: User) -> None:
    """The proofs' workspace, one cluster in trouble, and names as long as they may be."""
    quay = add_cluster(workspace)
    quay.instance_types.create(
        name="large-with-a-long-name-for-models-that-take-long",
        requests={"cpu": "64", "memory": "512Gi"},
        limits={"cpu": "64", "memory": "512Gi", "nvidia.com/gpu": "8"},
        node_selector={"node.kubernetes.io/instance-type": "very-large"},
    )
    add_cluster(workspace, "pier", state="unreachable", state_text="https://10.4.0.12:6443 did not answer in time")
    target = ComputeTarget.objects.create(workspace=workspace, cluster=quay, name="parcel-ops", namespace="parcel-ops")
    world.make_address_match(workspace, now=timezone.now(), user=owner)
    world.make_others(workspace, now=timezone.now())
    endpoint = world.make_endpoint(workspace, target=target, name=LONG, traffic={LONG: 100})
    many = world.healthy(*(f"{LONG}-{number}" for number in range(31)))
    model, environment = Model.objects.all()[0], Environment.objects.all()[0]
    world.make_deployment(endpoint, name=LONG, model=model, environment=environment, status=many)
    person = User.objects.create_user("somebody.with.a.very.long.user.name.without.a.space@example.org")
    workspace.memberships.create(user=person, role="reader")


def test_every_page_fits_has_one_heading_no_id_twice_and_no_name_under_a_button(
    page_of: Callable[[User], Page], alice: User, workspace: Workspace, complaints: Any
) -> None:
    fill(workspace, owner=alice)
    page = page_of(alice)
    wrong = {}
    pages = [*PLACES, *PLACES_CHANGES, *(path for path in WORK if not path.endswith("figures")), *ROOM]
    for path in [*pages, *(f"endpoints/{name}/" for name in Endpoint.objects.values_list("name", flat=True))]:
        page.goto(f"/w/harbour/{path}")
        for width in (1280, 375):
            page.set_viewport_size({"width": width, "height": 812})
            with suppress(NotInTime):  # charts follow the window a moment later
                page.wait_for_function("wide => document.documentElement.scrollWidth <= wide", arg=width, timeout=5000)
            found = page.evaluate(LOOK)
            if found["width"] > width or found["headings"] != 1 or found["twice"] or found["covered"]:
                wrong[path, width] = found
    assert wrong == {}
    complaints.found = [each for each in complaints.found if "404" not in each]  # of the page that is not there


def test_the_open_tab_is_in_view_on_a_phone(page_of: Callable[[User], Page], alice: User, workspace: Workspace) -> None:
    world.make_address_match(workspace, now=timezone.now())
    page = page_of(alice)
    page.set_viewport_size({"width": 375, "height": 812})
    page.goto("/w/harbour/endpoints/address-match/history/")
    box = page.get_by_role("tab", name="History").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 375

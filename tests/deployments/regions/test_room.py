"""Will it fit? Figures of the cluster's nodes become a sentence."""

from deployments.regions.room import SizeChoice, answer_fit, room_for, size_choices
from studio.models import Workspace
from tests.deployments import world

CHOICES = [SizeChoice("cpu-2", "2 cores, 4 GiB", 3, ""), SizeChoice("cpu-4", "4 cores, 8 GiB", 1, "")]


def test_what_fits_is_said_with_the_room() -> None:
    said = answer_fit(CHOICES, instance_type="cpu-4", replicas=1, cluster="quay-prod")
    assert (said.shape, said.rest) == ("ok", "1 replica of cpu-4 fits; quay-prod has room for 1.")


def test_what_does_not_fit_names_a_size_that_would() -> None:
    said = answer_fit(CHOICES, instance_type="cpu-4", replicas=3, cluster="quay-prod")
    assert (said.shape, said.instead) == ("warn", "cpu-2 fits 3 times.")


def test_unknown_nodes_are_not_called_full() -> None:
    unknown = [SizeChoice("cpu-2", "2 cores, 4 GiB", None, "")]
    assert answer_fit(unknown, instance_type="cpu-2", replicas=1, cluster="lab").strong == "Not known."
    assert unknown[0].said == "room not known"


def test_a_cluster_offers_its_types_and_the_built_in_one(workspace: Workspace) -> None:
    endpoint = world.make_endpoint(workspace, target=world.make_target(workspace))
    offered = {each.name: each.room for each in size_choices(endpoint.target.cluster)}
    assert offered["cpu-2"] == 2
    assert offered["cpu-4"] == 0
    assert "defaultinstancetype" in offered
    assert room_for(endpoint, instance_type="cpu-4").startswith("quay-prod has room for 0 more cpu-4.")

"""The endpoint of the proofs, and clients of the cast."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from deployments.models import Endpoint
from studio.models import Membership, Role, Workspace
from tests.deployments import world


@pytest.fixture
def address_match(workspace: Workspace, bob: User) -> Endpoint:
    """An endpoint with three deployments and an hour of samples."""
    return world.make_address_match(workspace, now=timezone.now(), user=bob)


@pytest.fixture
def reader(workspace: Workspace) -> User:
    """Dora may look and change nothing."""
    user = User.objects.create_user("dora")
    Membership.objects.create(workspace=workspace, user=user, role=Role.READER)
    return user


@pytest.fixture
def as_bob(bob: User, client_of: Callable[[User], Client]) -> Client:
    """Bob's browser."""
    return client_of(bob)

"""Before the studio answers: its tables, its first user, and the way to the embedded cluster."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import transaction

from clusters.kube.connection import parse_kubeconfig
from clusters.models import Cluster
from studio.models import Membership, Role, Workspace

USER = "admin"
WORKSPACE = "main"
CLUSTER = "local"


@dataclass(frozen=True)
class Account:
    """Who may sign in; the password only when it was made just now."""

    user: str
    password: str


def ensure_account(home: Path) -> Account:
    """The owner of the first workspace; with a new password until one has been told (`password_told`)."""
    users = get_user_model().objects
    user = users.order_by("id").first()
    if user is not None and _told(home).exists():
        return Account(user=user.get_username(), password="")
    password = secrets.token_urlsafe(12)
    with transaction.atomic():
        if user is None:
            user = users.create_user(USER)
        workspace, _ = Workspace.objects.get_or_create(name=WORKSPACE)
        Membership.objects.get_or_create(workspace=workspace, user=user, defaults={"role": Role.OWNER})
        user.set_password(password)
        user.save()
    return Account(user=user.get_username(), password=password)


def password_told(home: Path) -> None:
    """Remember that the password was printed: from now on only `make password` makes a new one."""
    _told(home).touch()


def _told(home: Path) -> Path:
    return home / "secrets" / "password-told"


def migrate() -> None:
    """Bring the tables up to date."""
    call_command("migrate", interactive=False, verbosity=0)


def follow_kubeconfig(path: Path) -> None:
    """Keep the attached embedded cluster's row pointing at where it listens now: its port may have been taken."""
    now = parse_kubeconfig(path.read_text())
    for cluster in Cluster.objects.filter(workspace__name=WORKSPACE, name=CLUSTER, runtime="process"):
        if cluster.connection != now.to_json():
            cluster.connection = now.to_json()
            cluster.server = now.server
            cluster.save(update_fields=["connection", "server"])

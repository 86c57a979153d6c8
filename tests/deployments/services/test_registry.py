"""Registering: versions grow, the same files are kept once, and definitions that mean the same share a hash."""

import io
from pathlib import Path
from typing import Any

import pytest

from deployments.models import Artifact
from deployments.services import pack_code, register_environment, register_model
from studio.actor import Actor
from studio.errors import FieldErrors
from studio.models import AuditEntry, Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _files_in(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path


def test_a_name_registered_again_gets_the_next_version_and_the_same_file(workspace: Workspace, actor: Actor) -> None:
    def register() -> Any:
        return register_model(workspace, name="iris", files=[("model.pkl", io.BytesIO(b"weights"))], actor=actor)

    first, second = register(), register()
    assert (first.version, second.version) == (1, 2)
    assert first.artifact == second.artifact
    assert Artifact.objects.count() == 1
    assert first.artifact.files == [{"path": "model.pkl", "size": 7}]
    assert AuditEntry.objects.filter(action="model.register", actor_name="bob").count() == 2


def test_files_that_would_leave_their_folder_are_refused_and_nothing_is_kept(
    workspace: Workspace, actor: Actor
) -> None:
    with pytest.raises(FieldErrors) as caught:
        register_model(workspace, name="iris", files=[("../evil", io.BytesIO(b"x"))], actor=actor)
    assert list(caught.value.errors) == ["files"]
    assert not Artifact.objects.exists()


def test_a_file_that_was_lost_is_stored_again(workspace: Workspace, actor: Actor) -> None:
    first = pack_code(workspace, files=[("score.py", io.BytesIO(b"1"))], actor=actor)
    Path(first.file.path).unlink()
    again = pack_code(workspace, files=[("score.py", io.BytesIO(b"1"))], actor=actor)
    assert again == first
    assert Path(again.file.path).exists()


def test_caches_are_left_out_of_code(workspace: Workspace, actor: Actor) -> None:
    files = [("score.py", io.BytesIO(b"1")), ("__pycache__/score.pyc", io.BytesIO(b"2"))]
    assert [f["path"] for f in pack_code(workspace, files=files, actor=actor).files] == ["score.py"]


def test_environments_that_mean_the_same_share_a_hash(workspace: Workspace, actor: Actor) -> None:
    one = register_environment(workspace, name="bare", requirements="# nothing\nNumPy\n", actor=actor)
    other = register_environment(workspace, name="bare", requirements="numpy", actor=actor)
    assert (one.version, other.version) == (1, 2)
    assert one.definition_hash == other.definition_hash != ""
    image = register_environment(workspace, name="ours", image="registry/x:1", actor=actor)
    assert image.definition_hash == ""


def test_what_two_workspaces_bring_is_kept_once_and_belongs_to_both(workspace: Workspace, actor: Actor) -> None:
    other = Workspace.objects.create(name="elsewhere")
    mine = pack_code(workspace, files=[("score.py", io.BytesIO(b"1"))], actor=actor)
    assert not other.artifacts.exists()
    assert pack_code(other, files=[("score.py", io.BytesIO(b"1"))], actor=actor) == mine
    assert Artifact.objects.count() == 1
    assert other.artifacts.get() == workspace.artifacts.get() == mine

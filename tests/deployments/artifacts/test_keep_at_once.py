"""The same files kept by two people at once: both get the artifact, and its file stays whole."""

import io
import tarfile
import threading
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connection

from deployments.artifacts.keep import keep_artifact
from deployments.artifacts.pack import CODE_LIMITS
from deployments.models import Artifact
from studio.models import Workspace

TEXT = b"def init(): pass\n" * 1000


def keep(workspace: Workspace) -> Artifact:
    return keep_artifact(workspace, files=[("score.py", io.BytesIO(TEXT))], limits=CODE_LIMITS, field="code")


@pytest.mark.django_db
def test_somebody_who_is_writing_the_same_files_keeps_what_he_has_written() -> None:
    """As it is found when another process has written the file and not yet its row."""
    workspace = Workspace.objects.create(name="harbour")
    first = keep(workspace)
    written = first.file.name
    Artifact.objects.filter(pk=first.pk).delete()

    second = keep(workspace)

    assert default_storage.exists(written)
    assert second.file.name != written
    with second.file.open() as file, tarfile.open(fileobj=file) as archive:
        assert archive.extractfile("score.py").read() == TEXT  # type: ignore[union-attr]


@pytest.mark.django_db(transaction=True)
def test_eight_at_once_get_one_artifact_with_one_file() -> None:
    workspace = Workspace.objects.create(name="harbour")
    found: list[Any] = []
    together = threading.Barrier(8)

    def one() -> None:
        try:
            together.wait()
            found.append(keep(workspace).digest)
        except Exception as error:
            found.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    artifact = Artifact.objects.get()
    assert found == [artifact.digest] * 8
    assert default_storage.exists(artifact.file.name)

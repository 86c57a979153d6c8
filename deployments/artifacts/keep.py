"""Keep an artifact: pack to a temporary file, store it under its digest, write the row; the same content only once."""

import tempfile
from collections.abc import Iterable
from datetime import timedelta
from typing import IO, Final

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.utils import timezone

from deployments.artifacts.pack import Limits, Packed, pack
from deployments.models import Artifact
from studio.models import Workspace

STOPPED_AFTER: Final = timedelta(hours=1)  # nobody writes a file and its row for so long


def keep_artifact(
    workspace: Workspace, *, files: Iterable[tuple[str, IO[bytes]]], limits: Limits, field: str
) -> Artifact:
    """The Artifact of these files (relative path, seekable file), which `workspace` may deploy from now on.

    Raises FieldErrors at `field`.
    """
    with tempfile.TemporaryFile() as archive:
        artifact = _store(archive, packed=pack(files, into=archive, limits=limits, field=field))
    artifact.workspaces.add(workspace)
    return artifact


def _store(archive: IO[bytes], *, packed: Packed) -> Artifact:
    known = Artifact.objects.filter(digest=packed.digest).first()
    if known is not None and known.file.name and default_storage.exists(known.file.name):
        return known
    archive.seek(0)
    name = f"artifacts/{packed.digest}.tar.gz"
    if default_storage.exists(name) and timezone.now() - default_storage.get_modified_time(name) > STOPPED_AFTER:
        default_storage.delete(name)  # left by somebody who was stopped before the row was written
    # Somebody who keeps the same files at this moment has the name: the storage gives us another one.
    stored = default_storage.save(name, File(archive))
    if known is not None:
        Artifact.objects.filter(digest=packed.digest).update(file=stored)
        known.refresh_from_db()
        return known
    listed = [{"path": path, "size": size} for path, size in packed.files]
    try:
        with transaction.atomic():
            return Artifact.objects.create(digest=packed.digest, size=packed.size, file=stored, files=listed)
    except IntegrityError:  # somebody registered the same files meanwhile
        default_storage.delete(stored)
        return Artifact.objects.get(digest=packed.digest)

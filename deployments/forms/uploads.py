"""Uploaded files with their paths.

A browser sends a file without its folder, so static/js/folder.js writes the paths of a chosen folder beside it, in the
same order. Without JavaScript the files of a folder can be chosen one by one, and then lie side by side.
"""

from collections.abc import Sequence
from typing import IO, cast

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest

NamedFile = tuple[str, IO[bytes]]


def read_uploads(request: HttpRequest, *, field: str) -> list[NamedFile]:
    """(path, file) of everything chosen for `field`; empty when nothing was."""
    files = [each for each in request.FILES.getlist(field) if isinstance(each, UploadedFile)]
    paths = request.POST.getlist(f"{field}_paths")
    names = paths if len(paths) == len(files) else [each.name or "" for each in files]
    return [(name, cast("IO[bytes]", each)) for name, each in zip(_below(names), files, strict=True)]


def _below(paths: Sequence[str]) -> list[str]:
    """The paths without the name of the folder that holds all of them."""
    tops = {path.split("/", 1)[0] for path in paths}
    if len(tops) == 1 and all("/" in path for path in paths):
        return [path.split("/", 1)[1] for path in paths]
    return list(paths)

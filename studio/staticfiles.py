"""Static files named by their content, compressed once, served by WhiteNoise for a year.

`collect_if_changed` runs at every start and must cost next to nothing when nothing changed: it compares one fingerprint
(names, sizes and times of the sources) with the one of the last collection.
"""

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder, get_finders
from django.core.files.storage import FileSystemStorage
from django.core.management import call_command
from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage

STAMP = ".collected"
PLOTLY = "vendor/plotly/plotly.min.js"


class NamedByContent(CompressedManifestStaticFilesStorage):
    """A file that is asked for but not collected is an error here, as it should be."""

    def create_compressor(self, **kwargs: Any) -> Compressor:
        """gzip only: brotli would spend ten seconds of the first start on Plotly alone."""
        return Compressor(**{**kwargs, "use_brotli": False})


class PlotlyFinder(BaseFinder):
    """Plotly's script out of its Python package, without the ten megabytes that lie beside it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        spec = find_spec("plotly")  # not imported: that takes half a second
        self.folder = Path(spec.origin).parent / "package_data" if spec and spec.origin else None

    def check(self, **_: Any) -> list[Any]:
        return []

    def find(self, path: str, find_all: bool = False, **_: Any) -> Any:
        """Where PLOTLY is; nothing for any other path."""
        found = [str(self.folder / "plotly.min.js")] if self.folder and path == PLOTLY else []
        return found if find_all else next(iter(found), [])

    def list(self, ignore_patterns: Any) -> Iterator[tuple[str, FileSystemStorage]]:  # noqa: ARG002 - Django's
        """The one file, in a storage whose names begin with vendor/plotly."""
        if self.folder:
            storage = FileSystemStorage(location=self.folder)
            storage.prefix = str(Path(PLOTLY).parent)  # type: ignore[attr-defined]
            yield "plotly.min.js", storage


def collect_if_changed() -> bool:
    """Collect static files into STATIC_ROOT when a source changed since the last time. Whether it did."""
    stamp = Path(settings.STATIC_ROOT) / STAMP
    now = fingerprint()
    if stamp.is_file() and stamp.read_text() == now:
        return False
    call_command("collectstatic", interactive=False, clear=stamp.parent.exists(), verbosity=0)
    stamp.write_text(now)
    return True


def fingerprint() -> str:
    """A digest of every source file's name, size and time of change."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            stat = Path(storage.path(name)).stat()
            digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()

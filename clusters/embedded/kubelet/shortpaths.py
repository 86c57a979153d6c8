"""Short names for deep directories, for containers without a mount namespace.

A unix socket's path takes 107 bytes at most. In a namespace a volume lies where the pod says, as on a real node; else
it lies below the cluster's data directory, which may be deep in somebody's home: there it gets a link of about 40
characters in the user's runtime directory. Links to directories that are gone are removed when the next one is made.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

LONG: Final = 60  # what is left for the socket's own name is then over 40 bytes


def short_path(source: Path) -> str:
    """`source` itself when it is short, else a link to it; `source` too when no link can be made."""
    if len(str(source)) <= LONG:
        return str(source)
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"slipway-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return str(source)  # somebody else's: never followed
        _remove_dangling(folder)
        link = folder / hashlib.sha256(str(source).encode()).hexdigest()[:12]
        if not link.is_symlink():
            link.symlink_to(source)
    except OSError:
        return str(source)
    return str(link)


def _remove_dangling(folder: Path) -> None:
    for link in folder.iterdir():
        if link.is_symlink() and not link.exists():
            link.unlink(missing_ok=True)

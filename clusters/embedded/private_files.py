"""Files for their owner only (0600): keys, tokens, and everything beside them."""

from pathlib import Path
from typing import TextIO


def write_private(path: Path, content: bytes | str) -> None:
    """Nobody sees half of it, also after a kill."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_bytes(content.encode() if isinstance(content, str) else content)
    draft.replace(path)


def open_private(path: Path) -> TextIO:
    """For reading and appending; made if it is not there."""
    make_private(path)
    return path.open("a+")


def make_private(path: Path) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)

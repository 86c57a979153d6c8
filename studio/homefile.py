"""Small secrets that Slipway makes once and keeps in its home folder, readable by its own user only."""

import os
from collections.abc import Callable
from pathlib import Path


def read_or_make(path: Path, *, make: Callable[[], str]) -> str:
    """The text of `path`; when it is not there, `make()` is written to it first (0600, never half-written).

    Two processes that start at once get the same value: the link either appears whole or was there before.
    """
    try:
        return path.read_text()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(make())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text()

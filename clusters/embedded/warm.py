"""Compiles what containers of the cluster's own image import, because they cannot: their packages are read-only.

    python -m clusters.embedded.warm PACKAGE...      imports every module of each, and compiles what that asks to be
                                                     installed: some of it is imported only when it is used

Without it every start of such a container compiles its libraries again, for most of a second. It is run once for each
state of the packages, whichever cluster comes first, in the background and at the lowest priority; where the bytecode
cannot be written, nothing is gained and nothing lost.
"""

import asyncio
import compileall
import contextlib
import importlib
import os
import pkgutil
import re
import signal
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

from clusters.embedded.kubelet import linux

_LOWEST: Final = 19


async def warm(root: Path, *, packages: tuple[str, ...]) -> None:
    """Returns when done. Ends the process it started when cancelled."""
    state = _state(root, packages)
    stamp = _directory(root, packages[0]) / "__pycache__" / f"warm-{'+'.join(packages)}"  # goes when the bytecode goes
    if (stamp.exists() and stamp.read_text() == state) or not os.access(stamp.parents[1], os.W_OK):
        return
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clusters.embedded.warm", *packages),
        cwd=root,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        if await process.wait() == 0:
            stamp.parent.mkdir(exist_ok=True)
            stamp.write_text(state)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _state(root: Path, packages: tuple[str, ...]) -> str:
    """Changes when a package does, or what is installed beside it."""
    places = [Path(entry) for entry in sys.path if entry.endswith("site-packages")]
    sources = [path for name in packages for path in _directory(root, name).rglob("*.py")]
    newest = max((path.stat().st_mtime_ns for path in (*places, *sources) if path.exists()), default=0)
    return f"{sys.version}\n{sys.prefix}\n{newest}\n"


def _directory(root: Path, package: str) -> Path:
    return root / package.replace(".", "/")


def import_all(package: str) -> None:
    """Import a package and all modules below it; one that cannot be is left out."""
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(found.__path__, prefix=f"{package}.", onerror=lambda _: None):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(Exception):
                importlib.import_module(module.name)


def compile_requirements() -> None:
    """Write the bytecode of every distribution that has something of what is imported now, and of all it requires."""
    owners = metadata.packages_distributions()
    wanted = {owner for module in sys.modules for owner in owners.get(module.partition(".")[0], ())}
    done: set[str] = set()
    while wanted:
        name = wanted.pop()
        with contextlib.suppress(metadata.PackageNotFoundError):  # what is only required elsewhere, or as an extra
            distribution = metadata.distribution(name)
            done.add(name)
            wanted |= {_name(requirement) for requirement in distribution.requires or ()} - done
            for file in distribution.files or ():
                if file.suffix == ".py":
                    compileall.compile_file(str(distribution.locate_file(file)), quiet=2)


def _name(requirement: str) -> str:
    """The name at the beginning of "anyio>=4; python_version < '3.12'"."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


if __name__ == "__main__":
    linux.die_with_parent(signal.SIGKILL)
    os.nice(_LOWEST)
    for name in sys.argv[1:]:
        import_all(name)
    compile_requirements()

"""Bytecode for containers that cannot write it."""

import os
import sys
from pathlib import Path

import pytest

from clusters.embedded.warm import warm


@pytest.fixture
def project(tmp_path: Path) -> Path:
    package = tmp_path / "project" / "clusters" / "embedded"
    package.mkdir(parents=True)
    here = Path(__file__).resolve().parents[3] / "clusters" / "embedded"
    for name in ("warm.py", "kubelet/linux.py"):
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text((here / name).read_text())
    for name in ("", "kubelet/", "broken/"):
        (package / name).mkdir(exist_ok=True)
        (package / name / "__init__.py").touch()
    (package / "broken" / "__init__.py").write_text("raise RuntimeError")
    (package / "part.py").write_text("WORD = 1\n")
    return tmp_path / "project"


async def test_each_module_is_compiled_once_and_again_when_it_changed(project: Path, tmp_path: Path) -> None:
    part = project / "clusters" / "embedded" / "part.py"
    compiled = part.parent / "__pycache__" / f"part.{sys.implementation.cache_tag}.pyc"
    await warm(tmp_path, root=project, packages=("clusters.embedded",))
    assert compiled.exists()
    compiled.unlink()
    await warm(tmp_path, root=project, packages=("clusters.embedded",))
    assert not compiled.exists()  # nothing has changed, so nothing was done
    later = part.stat().st_mtime + 10_000_000
    os.utime(part, (later, later))
    await warm(tmp_path, root=project, packages=("clusters.embedded",))
    assert compiled.exists()

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


async def test_each_module_is_compiled_once_and_again_when_it_changed(project: Path) -> None:
    part = project / "clusters" / "embedded" / "part.py"
    compiled = part.parent / "__pycache__" / f"part.{sys.implementation.cache_tag}.pyc"
    await warm(project, packages=("clusters.embedded",))
    assert compiled.exists()
    compiled.unlink()
    await warm(project, packages=("clusters.embedded",))
    assert not compiled.exists()  # nothing has changed, so nothing was done
    later = part.stat().st_mtime + 10_000_000
    os.utime(part, (later, later))
    await warm(project, packages=("clusters.embedded",))
    assert compiled.exists()


async def test_what_is_required_but_imported_only_when_used_is_compiled_too(project: Path) -> None:
    for name, asks_for in (("early", "Requires-Dist: lazy>=1; python_version > '3'\n"), ("lazy", "")):
        (project / name).mkdir()
        (project / name / "__init__.py").write_text("WORD = 1\n")
        record = project / f"{name}-1.0.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{asks_for}")
        (record / "RECORD").write_text(f"{name}/__init__.py,,\n")
    (project / "clusters" / "embedded" / "part.py").write_text("import early\n")
    await warm(project, packages=("clusters.embedded",))
    assert (project / "lazy" / "__pycache__" / f"__init__.{sys.implementation.cache_tag}.pyc").exists()

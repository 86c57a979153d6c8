"""What a newcomer's machine may lack is said in one sentence, and the exit code is not 0."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from studio.up import bootstrap

SCRIPT = Path(bootstrap.__file__)


def run_copy(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real script in a copy of the tree that has no .venv yet."""
    script = tmp_path / "studio" / "up" / "bootstrap.py"
    script.parent.mkdir(parents=True)
    script.write_text(SCRIPT.read_text())
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    for name in ("bootstrap.txt", "slipway.txt", "dev.txt"):
        (requirements / name).write_text((bootstrap.ROOT / "requirements" / name).read_text())
    return subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, env=os.environ | environment
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("slipway: ")
    return lines[0]


def test_a_python_without_venv_is_told_which_package_to_install(tmp_path: Path) -> None:
    (tmp_path / "site" / "venv").mkdir(parents=True)
    (tmp_path / "site" / "venv" / "__init__.py").write_text("")
    (tmp_path / "site" / "venv" / "__main__.py").write_text("raise SystemExit('No module named venv')")
    done = run_copy(tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert f"apt-get install python{sys.version_info.major}.{sys.version_info.minor}-venv" in said(done)


def test_no_network_at_the_first_start_names_the_proxy_settings(tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9"  # the discard port: nobody listens
    nowhere = {"PIP_INDEX_URL": dead, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": "/dev/null"}
    done = run_copy(tmp_path, PIP_RETRIES="0", PIP_NO_CACHE_DIR="1", **nowhere)
    assert "HTTPS_PROXY" in said(done)


def test_macos_is_told_to_use_linux(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert bootstrap.main([]) == 1
    assert "this is macOS. Run Slipway in a Linux virtual machine." in capsys.readouterr().err


def test_an_old_python_is_told_the_version_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    assert bootstrap.main([]) == 1
    assert "Python 3.11 or newer is needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("printed", "sentence"),
    [
        ("error: [Errno 28] No space left on device", "The disk is full."),
        ("dns error: failed to lookup address information", "The package index cannot be reached."),
        ("THESE PACKAGES DO NOT MATCH THE HASHES: hash mismatch", "differs from the locked one"),
    ],
)
def test_what_an_installer_prints_becomes_a_sentence(printed: str, sentence: str) -> None:
    assert sentence in bootstrap.explain(printed, fallback="")


def test_an_unknown_failure_keeps_the_installers_own_last_line() -> None:
    assert (
        bootstrap.explain("a\nthe thing broke\n", fallback=bootstrap.last_line("a\nthe thing broke\n"))
        == "the thing broke"
    )


def test_a_venv_made_from_the_lock_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lock = tmp_path / "slipway.txt"
    lock.write_text("django==5.2")
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    (tmp_path / ".venv" / "slipway-lock").write_text(bootstrap.digest(lock))
    assert bootstrap.is_current(lock)
    lock.write_text("django==5.3")
    assert not bootstrap.is_current(lock)


def test_the_locks_hold_hashes_and_no_address() -> None:
    for lock in (bootstrap.ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "index-url" not in text

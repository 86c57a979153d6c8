"""A unix socket can be made in a volume, however deep the cluster's data directory lies."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters.embedded.kubelet.shortpaths import short_path


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory as short as a user's own; pytest's folders may be too deep."""
    with tempfile.TemporaryDirectory() as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name)


@pytest.fixture
def deep(tmp_path: Path, runtime: Path) -> Path:
    folder = tmp_path / ("a-folder-with-a-long-name/" * 4)
    folder.mkdir(parents=True)
    return folder


def test_a_socket_in_a_deep_volume_can_be_bound_through_its_short_name(deep: Path) -> None:
    with socket.socket(socket.AF_UNIX) as too_deep, pytest.raises(OSError, match="AF_UNIX path too long"):
        too_deep.bind(str(deep / "haproxy-master.sock"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short_path(deep)}/haproxy-master.sock")
    assert (deep / "haproxy-master.sock").is_socket()


def test_the_same_directory_has_one_short_name_and_a_short_one_keeps_its_own(deep: Path) -> None:
    assert short_path(deep) == short_path(deep)
    assert short_path(Path("/run/volume")) == "/run/volume"


def test_names_of_directories_that_are_gone_are_removed(deep: Path) -> None:
    gone = Path(short_path(deep))
    shutil.rmtree(deep)
    other = deep.parent / "another-volume-with-a-long-name"
    other.mkdir(parents=True, exist_ok=True)
    short_path(other)
    assert not gone.is_symlink()


def test_a_runtime_folder_of_somebody_else_is_not_used(deep: Path, runtime: Path, tmp_path: Path) -> None:
    (runtime / f"slipway-{os.getuid()}").symlink_to(tmp_path)
    assert short_path(deep) == str(deep)

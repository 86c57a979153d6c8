"""The router's image: a valid OCI archive, small, without a shell, and it runs as its own user."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.images.oci import Image, write_archive
from tests.ports import free_port
from tests.whole import ROOT

LIMIT_BYTES = 200 * 1000 * 1000
SMALL = Image(
    name="small", version="1", user="10001:10001", entrypoint=("a",), environment={"A": "b"}, ports=(80,), created=1000
)


class Archive:
    """An OCI archive, opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with tarfile.open(path) as tar:
            self.files = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]

    def follow(self, descriptor: dict[str, Any]) -> bytes:
        """The blob a descriptor names, checked against its digest and size."""
        data = self.files["blobs/" + descriptor["digest"].replace(":", "/")]
        assert hashlib.sha256(data).hexdigest() == descriptor["digest"].partition(":")[2]
        assert len(data) == descriptor["size"]
        return data

    @property
    def manifest(self) -> dict[str, Any]:
        index = json.loads(self.files["index.json"])
        found: dict[str, Any] = json.loads(self.follow(index["manifests"][0]))
        return found

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.follow(self.manifest["config"]))
        return found

    @property
    def layer(self) -> tarfile.TarFile:
        return tarfile.open(fileobj=io.BytesIO(self.follow(self.manifest["layers"][0])), mode="r:gz")


def small_archive(folder: Path) -> Archive:
    """An archive of two files and a link."""
    rootfs = folder / "rootfs"
    (rootfs / "run/app").mkdir(parents=True)
    (rootfs / "run/app/file").write_text("hello")
    (rootfs / "program").write_text("world")
    (rootfs / "link").symlink_to("program")
    return Archive(write_archive(folder / "small.tar", image=SMALL, rootfs=rootfs, owned_by_user=("run/app",)))


def test_an_archive_is_what_the_format_asks_for(tmp_path: Path) -> None:
    archive = small_archive(tmp_path)

    assert json.loads(archive.files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert archive.config["config"]["User"] == "10001:10001"
    assert archive.config["config"]["Env"] == ["A=b"]
    with archive.layer as layer:
        owners = {m.name: (m.uid, m.mtime) for m in layer.getmembers()}
    assert owners == {
        **dict.fromkeys(("link", "program", "run"), (0, 1000)),
        **dict.fromkeys(("run/app", "run/app/file"), (10001, 1000)),
    }


def test_the_same_files_give_the_same_archive(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    assert small_archive(tmp_path / "a").path.read_bytes() == small_archive(tmp_path / "b").path.read_bytes()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """What `make image` builds, or the archive SLIPWAY_TEST_IMAGE names."""
    if built := os.environ.get("SLIPWAY_TEST_IMAGE"):
        return Archive(Path(built))
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed: apt-get install mmdebstrap")
    folder = tmp_path_factory.mktemp("image")
    command = [sys.executable, str(ROOT / "deploy/images/build.py"), "--to", str(folder)]
    subprocess.run(command, check=True, timeout=900)
    (path,) = folder.iterdir()
    return Archive(path)


@pytest.fixture(scope="module")
def rootfs(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image, unpacked as a container engine would."""
    if os.geteuid() != 0:
        pytest.skip("unpacking an image and changing into it needs root")
    folder = tmp_path_factory.mktemp("container")
    folder.chmod(0o755)
    with archive.layer as layer:
        layer.extractall(folder, numeric_owner=True, filter="fully_trusted")  # noqa: S202 our own
    return folder


@pytest.mark.slow
def test_the_image_is_small_and_names_its_platform_and_its_user(archive: Archive) -> None:
    assert archive.path.stat().st_size < LIMIT_BYTES
    with archive.layer as layer:
        members = layer.getmembers()
    assert sum(member.size for member in members) < LIMIT_BYTES
    assert (archive.config["architecture"], archive.config["os"]) == ("amd64", "linux")
    assert archive.config["config"]["User"] == "10001:10001"
    assert [m.name for m in members if m.isreg() and m.mode & 0o6000] == []
    programs = {m.name for m in members if m.name.startswith(("bin/", "sbin/", "usr/bin/", "usr/sbin/"))}
    assert programs == {"usr/bin/python", "usr/bin/python3", "usr/bin/python3.11"}


def inside(rootfs: Path, archive: Archive, *arguments: str) -> list[str]:
    """The command that runs the image's program with these arguments, as its user, with its environment only."""
    config = archive.config["config"]
    mounts = f"mount -t proc proc {rootfs}/proc && mount --bind /dev {rootfs}/dev && "
    enter = f'exec /usr/sbin/chroot --userspec={config["User"]} {rootfs} "$@"'
    environment = ["env", "-i", *config["Env"]]
    return [*environment, "/usr/bin/unshare", "--mount", "/bin/sh", "-c", mounts + enter, "sh", *arguments]


@pytest.mark.slow
def test_the_program_explains_itself_from_inside_the_image(rootfs: Path, archive: Archive) -> None:
    entrypoint = archive.config["config"]["Entrypoint"]

    done = subprocess.run(
        inside(rootfs, archive, *entrypoint, "--help"), capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "--inference-port" in done.stdout


@pytest.mark.slow
def test_what_is_imported_on_request_only_is_in_the_image_too(rootfs: Path, archive: Archive) -> None:
    command = inside(rootfs, archive, "python", "-c", "import routerd.otlp")

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def running(rootfs: Path, archive: Archive) -> Iterator[int]:
    """The router, started from the image without anything to route; its inference port."""
    (rootfs / "tmp/objects.yaml").write_text("")
    port = free_port()
    options = ["--objects", "/tmp/objects.yaml", "--inference-port", str(port), "--admin-port", str(free_port())]
    options += ["--slots", "500:4", "--drain-seconds", "0"]
    command = inside(rootfs, archive, *archive.config["config"]["Entrypoint"], *options)
    process = subprocess.Popen(command)
    yield port
    process.terminate()
    assert process.wait(30) == 0


@pytest.mark.slow
def test_the_router_serves_from_inside_the_image(running: int) -> None:
    command = ["curl", "-sS", "-m", "5", f"http://127.0.0.1:{running}/-/healthz"]
    end = time.monotonic() + 60
    while time.monotonic() < end:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        time.sleep(0.2)
    assert done.stdout == "ok"

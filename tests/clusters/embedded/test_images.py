"""Image records, and building an environment without a network."""

import json
import zipfile
from pathlib import Path

import pytest

from clusters.embedded.build import build, cause_of
from clusters.embedded.images import ImageBrokenError, ImageMissingError, ImageStore, directory_name


def write(images: Path, ref: str, record: dict[str, object]) -> Path:
    home = images / directory_name(ref)
    home.mkdir(parents=True)
    (home / "image.json").write_text(json.dumps(record))
    return home


def test_a_built_image_is_seen_under_the_path_of_its_build_pod(tmp_path: Path) -> None:
    home = write(tmp_path, "env:1", {"ref": "env:1", "path": ["bin"], "env": {"A": "b"}})
    image = ImageStore(tmp_path).find("env:1")
    seen = image.environment(isolated=True, machine={"SECRET": "x", "PIP_CERT": "y"})
    assert seen["PATH"].startswith(f"/var/lib/slipway/images/{home.name}/bin:")
    assert (seen["A"], "SECRET" in seen, "PIP_CERT" in seen) == ("b", False, False)
    assert image.environment(isolated=False, machine={})["PATH"].startswith(f"{home}/bin:")


@pytest.mark.parametrize(
    "record", [{"dirs": ["/root"]}, {"passEnv": ["*"]}, {"path": ["/root/bin"]}, {"path": ["../x"]}]
)
def test_a_record_made_in_the_cluster_reaches_nothing_of_the_machine(tmp_path: Path, record: dict[str, object]) -> None:
    write(tmp_path, "env:1", record)
    with pytest.raises(ImageBrokenError):
        ImageStore(tmp_path).find("env:1")


def test_a_reference_without_a_record_is_missing_until_it_is_there(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    with pytest.raises(ImageMissingError, match='"env:1": not found'):
        store.find("env:1")
    write(tmp_path, "env:1", {"path": []})
    assert store.find("env:1").ref == "env:1"


def test_an_environment_is_built_once_and_recorded_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "UV_OFFLINE": "1"}
    for _ in range(2):
        build(ref="env:1", requirements=requirements, python="3.11", images=tmp_path / "images", environ=environ)
    assert "is built already" in capsys.readouterr().out
    image = ImageStore(tmp_path / "images").find("env:1")
    assert (Path(image.path[0]) / "python").exists()


def test_a_build_writes_the_bytecode_of_libraries_but_not_of_their_tests(tmp_path: Path) -> None:
    wheel = tmp_path / "sail-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for name in ("sail/__init__.py", "sail/testing.py", "sail/tests/test_wind.py"):
            file.writestr(name, "WORD = 1\n")
        file.writestr("sail/template.py", "not Python {{ at all }}\n")
        file.writestr("sail-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: sail\nVersion: 1.0\n")
        file.writestr("sail-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("sail-1.0.dist-info/RECORD", "")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"{wheel}\n")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "UV_OFFLINE": "1"}
    images = tmp_path / "tests" / "images"  # a home may lie in a directory of that name, too
    build(ref="env:1", requirements=requirements, python="3.11", images=images, environ=environ)
    (package,) = images.glob("*/lib/python3.11/site-packages/sail")
    compiled = {path.name.partition(".")[0] for path in package.rglob("*.pyc")}
    assert compiled == {"__init__", "testing"}


@pytest.mark.parametrize(
    ("output", "start"),
    [
        ("error: Failed to fetch\n  Caused by: dns error", "the package index cannot be reached"),
        ("error: write failed: No space left on device (os error 28)", "the disk is full"),
        ("  × No solution found when resolving dependencies", "a required package or version does not exist"),
        ("error: No interpreter found for Python 3.99", "there is no such version of Python here"),
    ],
)
def test_a_failed_build_says_why_in_plain_words(output: str, start: str) -> None:
    assert cause_of(output).startswith(start)

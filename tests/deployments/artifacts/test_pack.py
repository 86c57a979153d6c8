"""The same files are the same artifact, and no path leaves it."""

import hashlib
import io
import tarfile
from typing import IO

import pytest

from deployments.artifacts.pack import Limits, Packed, pack
from studio.errors import FieldErrors

LIMITS = Limits(subject="a model", total_bytes=1024, files=3)


def packed(*files: tuple[str, bytes], limits: Limits = LIMITS) -> tuple[Packed, IO[bytes]]:
    archive = io.BytesIO()
    return pack([(path, io.BytesIO(data)) for path, data in files], into=archive, limits=limits, field="files"), archive


def refusal(*files: tuple[str, bytes]) -> str:
    with pytest.raises(FieldErrors) as caught:
        packed(*files)
    return " ".join(caught.value.errors["files"])


def test_order_does_not_change_the_digest_but_contents_do() -> None:
    one, archive = packed(("b.txt", b"2"), ("a/x.bin", b"1"))
    other, _ = packed(("a/x.bin", b"1"), ("b.txt", b"2"))
    assert one == other
    assert hashlib.sha256(archive.getvalue()).hexdigest() == one.digest  # type: ignore[attr-defined]
    assert packed(("b.txt", b"3"), ("a/x.bin", b"1"))[0].digest != one.digest


def test_what_is_packed_can_be_unpacked() -> None:
    result, archive = packed(("ünïcode name.txt", b"hello"), ("a/b/c.txt", b""))
    archive.seek(0)
    with tarfile.open(fileobj=archive, mode="r:gz") as opened:
        names = {member.name: member.size for member in opened.getmembers()}
        assert all(member.mtime == 0 and member.mode == 0o644 for member in opened.getmembers())
    assert names == {"ünïcode name.txt": 5, "a/b/c.txt": 0} == dict(result.files)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a//b", "a\\b", "", "x\n", "./x", "a/"])
def test_paths_that_leave_the_folder_are_refused(path: str) -> None:
    assert "must" in refusal((path, b"x"))


def test_limits_are_said_in_the_words_of_what_is_packed() -> None:
    assert "3 files or less for a model; these are 4" in refusal(*[(f"{n}", b"") for n in range(4)])
    assert "for a model" in refusal(("x", b"1" * 2000))
    assert "at least one file" in refusal()
    assert "twice" in refusal(("x", b"1"), ("x", b"2"))
    assert "a file and a folder" in refusal(("x", b"1"), ("x/y", b"2"))

"""Archives of strangers: what is unpacked, and that nothing gets out."""

import os
import random
import tarfile
from pathlib import Path

import pytest

from routerd.artifacts.unpack import Caps, Unpacked, UnsafeArchiveError, unpack
from tests.routerd.artifacts.archives import special, tar_of, zip_of

FILES = {"score.py": b"def init(): ...\n", "model/weights.bin": bytes(range(256)) * 40, "empty": b""}
CAPS = Caps(members=50, total_bytes=1_000_000)


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "outer" / "inside"
    folder.mkdir(parents=True)
    return folder


def unpack_bytes(data: bytes, *, inside: Path, caps: Caps = CAPS) -> Unpacked:
    archive = inside.parent.parent / "archive"
    archive.write_bytes(data)
    return unpack(archive, into=inside, caps=caps)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("data", [tar_of(FILES), tar_of(FILES, mode="w"), zip_of(FILES)], ids=["tar.gz", "tar", "zip"])
def test_files_come_out_as_they_went_in(inside: Path, data: bytes) -> None:
    result = unpack_bytes(data, inside=inside)
    assert contents(inside) == FILES
    assert result == Unpacked(files=3, total_bytes=sum(map(len, FILES.values())))


def test_a_tar_that_ends_like_a_zip_is_still_a_tar(inside: Path) -> None:
    data = tar_of({"inner.zip": zip_of({"x": b"1"})}, mode="w")
    unpack_bytes(data, inside=inside)
    assert list(contents(inside)) == ["inner.zip"]


def test_links_within_the_archive_are_kept(inside: Path) -> None:
    links = (
        special("model/latest", kind=tarfile.SYMTYPE, target="weights.bin"),
        special("model/up", kind=tarfile.SYMTYPE, target="../score.py"),
        special("copy.py", kind=tarfile.LNKTYPE, target="score.py"),
    )
    result = unpack_bytes(tar_of(FILES, members=links), inside=inside)
    assert (inside / "model/latest").read_bytes() == FILES["model/weights.bin"]
    assert (inside / "model/up").read_bytes() == (inside / "copy.py").read_bytes() == FILES["score.py"]
    assert result.files == 6


def test_a_link_of_a_zip_is_a_link(inside: Path) -> None:
    unpack_bytes(zip_of({"a": b"1", "b": b"a"}, modes={"b": 0o120777}), inside=inside)
    assert (inside / "b").is_symlink()
    assert (inside / "b").read_bytes() == b"1"


def test_only_the_executable_bit_of_a_mode_survives(inside: Path) -> None:
    unpack_bytes(zip_of({"run": b"", "plain": b""}, modes={"run": 0o104777, "plain": 0o100600}), inside=inside)
    assert (inside / "run").stat().st_mode & 0o7777 == 0o755
    assert (inside / "plain").stat().st_mode & 0o7777 == 0o644


LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    "members",
    [
        (special("../x", kind=tarfile.REGTYPE),),
        (special("/etc/x", kind=tarfile.REGTYPE),),
        (special("a/../../x", kind=tarfile.REGTYPE),),
        (special("x", kind=LINK, target="/etc/passwd"),),
        (special("x", kind=LINK, target="../secret"),),
        (special("a/x", kind=LINK, target="../../secret"),),
        (special("a/x", kind=LINK, target="b/../../../secret"),),
        (special("x", kind=LINK, target=""),),
        (special("x", kind=HARD, target="/etc/passwd"),),
        (special("x", kind=HARD, target="../secret"),),
        (special("l", kind=LINK, target="score.py"), special("x", kind=HARD, target="l")),
        (special("x", kind=tarfile.CHRTYPE),),
        (special("x", kind=tarfile.BLKTYPE),),
        (special("x", kind=tarfile.FIFOTYPE),),
        (special("d", kind=LINK, target="model"), special("d/x", kind=LINK, target="../../secret")),
        (special("d", kind=LINK, target="model"), special("d/x", kind=LINK, target="../score.py")),
        (special("score.py/x", kind=tarfile.REGTYPE),),
        (special("model", kind=tarfile.REGTYPE),),
    ],
    ids=lambda members: " ".join(f"{m.name}>{m.linkname}" for m in members),
)
def test_members_that_lead_out_or_are_no_files_are_refused(inside: Path, members: tuple[tarfile.TarInfo, ...]) -> None:
    secret = inside.parent / "secret"
    secret.write_bytes(b"untouched")
    with pytest.raises(UnsafeArchiveError):
        unpack_bytes(tar_of(FILES, members=members), inside=inside)
    assert secret.read_bytes() == b"untouched"
    assert sorted(p.name for p in inside.parent.iterdir()) == ["inside", "secret"]


def test_a_file_named_like_a_link_before_it_replaces_the_link(inside: Path) -> None:
    data = tar_of({}, members=(special("x", kind=LINK, target="model"), special("x", kind=tarfile.REGTYPE)))
    unpack_bytes(data, inside=inside)
    assert not (inside / "x").is_symlink()


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x"])
def test_names_of_a_zip_that_lead_out_are_refused(inside: Path, name: str) -> None:
    with pytest.raises(UnsafeArchiveError, match="leads out"):
        unpack_bytes(zip_of({name: b"1"}), inside=inside)


def test_more_members_than_allowed_are_refused(inside: Path) -> None:
    with pytest.raises(UnsafeArchiveError, match="more than 50 members"):
        unpack_bytes(tar_of({f"f{n}": b"" for n in range(51)}), inside=inside)


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_a_bomb_is_stopped_by_what_it_writes(inside: Path, make) -> None:  # type: ignore[no-untyped-def]
    data = make({"zeros": b"\0" * 3_000_000})
    assert len(data) < 10_000
    with pytest.raises(UnsafeArchiveError, match="more than 1000000 bytes"):
        unpack_bytes(data, inside=inside)
    assert sum(p.stat().st_size for p in inside.rglob("*")) <= 1_000_000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an archive",
        tar_of(FILES)[:150],
        tar_of(FILES, mode="w")[:2000],
        zip_of(FILES)[:-30],
        b"PK\x03\x04junk",
    ],
)
def test_what_is_no_whole_archive_is_refused(inside: Path, data: bytes) -> None:
    with pytest.raises(UnsafeArchiveError):
        unpack_bytes(data, inside=inside)


@pytest.mark.parametrize("seed", range(30))
def test_no_heap_of_random_links_lets_a_path_resolve_outside(inside: Path, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a heap that can be made again
    steps = ["a", "b", "c", "..", "."]

    def path(most: int) -> str:
        return "/".join(dice.choice(steps) for _ in range(dice.randint(1, most)))

    members = tuple(
        special(path(3), kind=dice.choice([LINK, LINK, HARD, tarfile.DIRTYPE, tarfile.REGTYPE]), target=path(5))
        for _ in range(12)
    )
    for count in range(1, len(members) + 1):
        folder = inside / str(count)
        folder.mkdir()
        (inside.parent.parent / "archive").write_bytes(tar_of({}, members=members[:count]))
        try:
            unpack(inside.parent.parent / "archive", into=folder, caps=CAPS)
        except UnsafeArchiveError:
            continue
        finally:
            for found in folder.rglob("*"):
                assert Path(os.path.realpath(found)).is_relative_to(folder.resolve())

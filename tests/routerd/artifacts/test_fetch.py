"""The init container as Kubernetes runs it: a process, its environment, a directory, and a network that breaks."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from routerd.artifacts import download
from routerd.artifacts.download import size
from routerd.artifacts.fetch import main
from routerd.contract import sign_download_token
from tests.routerd.artifacts.archives import digest_of, tar_of
from tests.routerd.artifacts.processes import SIGNING_KEY, RunningCache, Wire

FILES = {"score.py": b"def init(): ...\n", "weights/w.bin": os.urandom(3_000_000)}
ARCHIVE = tar_of(FILES)
DIGEST = digest_of(ARCHIVE)

BuildWire = Callable[..., Wire]


def upload(cache: RunningCache, data: bytes = ARCHIVE) -> None:
    assert cache.put(digest_of(data), offset=0, total=len(data), data=data).status_code == 201


def fetch(
    url: str, *, to: Path, digest: str = DIGEST, token: str | None = None, more: list[str] | None = None
) -> tuple[int, str]:
    """Run the init container once: (exit code, everything it said)."""
    environment = os.environ | {
        "ROUTERD_ARTIFACTS_URL": url,
        "ROUTERD_ARTIFACTS_TOKEN": token or sign_download_token(digests=[digest], signing_key=SIGNING_KEY),
    }
    command = [sys.executable, "-m", "routerd.artifacts", "fetch", "--digest", digest, "--to", str(to), *(more or [])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.startswith(".slipway")
    }


def test_an_artifact_is_downloaded_checked_and_unpacked(cache: RunningCache, tmp_path: Path) -> None:
    upload(cache)
    code, said = fetch(cache.url, to=tmp_path / "model", more=["--name", "volume-gbm:7"])
    assert code == 0
    assert contents(tmp_path / "model") == FILES
    first, *_, last = said.splitlines()
    assert first == "fetch volume-gbm:7 from artifacts (3 MB)"
    assert last == f"2 files in {tmp_path / 'model'} (3 MB), SHA-256 as registered"
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [".slipway-artifact", "score.py", "weights"]


def test_running_again_downloads_nothing(cache: RunningCache, tmp_path: Path) -> None:
    upload(cache)
    fetch(cache.url, to=tmp_path / "model")
    cache.stop()
    code, said = fetch(cache.url, to=tmp_path / "model")
    assert (code, said) == (0, f"{DIGEST[:12]}: already in {tmp_path / 'model'}\n")


def test_several_artifacts_go_to_their_own_directories(cache: RunningCache, tmp_path: Path) -> None:
    code_archive = tar_of({"run.py": b"pass"})
    upload(cache)
    upload(cache, code_archive)
    token = sign_download_token(digests=[DIGEST, digest_of(code_archive)], signing_key=SIGNING_KEY)
    more = ["--digest", digest_of(code_archive), "--to", str(tmp_path / "code")]
    assert fetch(cache.url, to=tmp_path / "model", token=token, more=more)[0] == 0
    assert contents(tmp_path / "code") == {"run.py": b"pass"}
    assert contents(tmp_path / "model") == FILES


def test_a_download_goes_on_where_each_connection_broke(cache: RunningCache, tmp_path: Path, wire: BuildWire) -> None:
    upload(cache)
    broken = wire(cache.url, limits=[500_000] * 4)
    code, said = fetch(broken.url, to=tmp_path / "model")
    assert (code, contents(tmp_path / "model")) == (0, FILES)
    assert 5 <= broken.requests <= 8
    assert said.count("asked again from byte") == broken.requests - 1


def test_a_download_goes_on_in_the_next_container(cache: RunningCache, tmp_path: Path, wire: BuildWire) -> None:
    upload(cache)
    cut = wire(cache.url, limits=[2_000_000])
    environment = {
        "ROUTERD_ARTIFACTS_URL": cut.url,
        "ROUTERD_ARTIFACTS_TOKEN": sign_download_token(digests=[DIGEST], signing_key=SIGNING_KEY),
    }
    command = [sys.executable, "-m", "routerd.artifacts", "fetch", "--digest", DIGEST, "--to", str(tmp_path / "model")]
    with subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        next(line for line in first.stdout if "asked again from byte" in line)
        first.kill()
    straight = wire(cache.url, limits=[])
    code, said = fetch(straight.url, to=tmp_path / "model")
    assert (code, contents(tmp_path / "model")) == (0, FILES)
    assert "from artifacts" not in said  # that is said at byte 0


def test_leftovers_of_a_killed_unpacking_are_replaced(cache: RunningCache, tmp_path: Path) -> None:
    upload(cache)
    model = tmp_path / "model"
    (model / ".slipway-unpack" / "half").mkdir(parents=True)
    (model / "score.py").write_text("half")
    (model / ".slipway-artifact").write_text(json.dumps({"digest": DIGEST, "state": "unpacking"}))
    assert fetch(cache.url, to=model)[0] == 0
    assert contents(model) == FILES


def test_another_digest_replaces_what_was_fetched_before(cache: RunningCache, tmp_path: Path) -> None:
    other = tar_of({"new.py": b"2"})
    upload(cache)
    upload(cache, other)
    fetch(cache.url, to=tmp_path / "model")
    assert fetch(cache.url, to=tmp_path / "model", digest=digest_of(other))[0] == 0
    assert contents(tmp_path / "model") == {"new.py": b"2"}


def test_a_directory_with_other_files_is_not_touched(cache: RunningCache, tmp_path: Path) -> None:
    upload(cache)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("precious")
    code, said = fetch(cache.url, to=tmp_path / "model")
    assert code == 1
    assert said.splitlines()[-1].endswith("holds other files (mine). Mount an empty volume there.")
    assert contents(tmp_path / "model") == {"mine": b"precious"}


def test_a_connection_that_is_refused_is_tried_again_and_then_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("ROUTERD_ARTIFACTS_URL", url)
    monkeypatch.setattr(download, "_ATTEMPTS", 3)  # a matter of seconds, not of half a minute
    assert main(["--digest", DIGEST, "--to", str(tmp_path / "model")]) == 1
    said = capsys.readouterr().out
    assert said.count("connection refused") == 3
    assert "Check that the artifact cache runs in namespace slipway-system" in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("token", "advice"),
    [
        ("guess", "does not know this pod's token"),
        (sign_download_token(digests=["0" * 64], signing_key=SIGNING_KEY), "token is not for"),
    ],
)
def test_a_wrong_token_fails_at_once_and_says_what_to_do(
    cache: RunningCache, tmp_path: Path, token: str, advice: str
) -> None:
    upload(cache)
    code, said = fetch(cache.url, to=tmp_path / "model", token=token)
    assert code == 1
    assert advice in said.splitlines()[-1]
    assert "eploy again" in said.splitlines()[-1]
    assert len(said.splitlines()) == 1


def test_an_artifact_the_cache_does_not_hold_fails_at_once(cache: RunningCache, tmp_path: Path) -> None:
    code, said = fetch(cache.url, to=tmp_path / "model")
    assert (code, len(said.splitlines())) == (1, 1)
    assert "does not hold" in said


def test_other_bytes_than_registered_are_never_unpacked(cache: RunningCache, tmp_path: Path) -> None:
    upload(cache)
    (cache.directory / "blobs" / DIGEST).write_bytes(tar_of({"evil.py": b"1"}))
    code, said = fetch(cache.url, to=tmp_path / "model")
    assert code == 1
    assert "sent other bytes than" in said.splitlines()[-1]
    assert contents(tmp_path / "model") == {}


def test_an_unsafe_archive_is_refused_and_leaves_nothing(cache: RunningCache, tmp_path: Path) -> None:
    archive = tar_of({"fine": b"1", "../out": b"2"})
    upload(cache, archive)
    code, said = fetch(cache.url, to=tmp_path / "model", digest=digest_of(archive))
    assert code == 1
    assert "'../out' leads out" in said.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "model" / "fine").exists()


def test_an_address_that_is_missing_is_named(tmp_path: Path) -> None:
    code, said = fetch("", to=tmp_path / "model")
    assert code == 1
    assert "ROUTERD_ARTIFACTS_URL is ''" in said


@pytest.mark.parametrize(
    "arguments", [["--digest", "x"], ["--digest", "A" * 64, "--to", "b"], ["--name", "a", "--name", "b"]]
)
def test_arguments_that_do_not_fit_together_are_refused(tmp_path: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "routerd.artifacts", "fetch", "--digest", DIGEST, "--to", str(tmp_path / "a")]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2


def test_fetch_imports_neither_aiohttp_nor_asyncio() -> None:
    command = "import sys, routerd.artifacts.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert not {"aiohttp", "asyncio", "lightkube"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (85_400_000, "85 MB"), (1_800_000_000, "1.8 GB"), (999_600, "1 MB")]
)
def test_sizes_are_told_as_people_write_them(count: int, text: str) -> None:
    assert size(count) == text

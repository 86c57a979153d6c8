"""python -m studio.up refuses in one sentence, before it has started anything."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from studio.up.cluster import Record, is_running, start_time_of
from studio.up.errors import CannotStartError
from studio.up.home import open_home
from studio.up.ports import pick_free, require_free
from studio.up.report import Answering, as_curl, as_python


def start(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {"SLIPWAY_HOME": str(home), "SLIPWAY_PORT": str(pick_free())} | environment
    command = [sys.executable, "-m", "studio.up"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=60)


def test_a_taken_studio_port_names_the_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start(tmp_path, SLIPWAY_PORT=str(port))
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1, for the studio, cannot be used" in done.stderr
    assert f"SLIPWAY_PORT={port + 1} make up" in done.stderr
    assert not (tmp_path / "cluster").exists()


def test_a_taken_router_port_names_the_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start(tmp_path, SLIPWAY_ROUTER_PORT=str(port))
    assert done.returncode == 1
    assert f"SLIPWAY_ROUTER_PORT={port + 1} make up" in done.stderr


def test_a_second_studio_in_the_same_home_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    with open_home(tmp_path):
        done = start(tmp_path)
    assert done.returncode == 1
    assert f"already runs in {tmp_path} (process {os.getpid()})" in done.stderr


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = start(tmp_path / "file" / "home")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "SLIPWAY_HOME" in done.stderr


def test_an_unknown_setting_stops_the_start(tmp_path: Path) -> None:
    done = start(tmp_path, SLIPWAY_ROUTER_PROT="8080")
    assert done.returncode == 1
    assert "SLIPWAY_ROUTER_PROT is not a setting of Slipway" in done.stderr


def test_a_setting_that_cannot_be_read_is_named_with_its_value(tmp_path: Path) -> None:
    done = start(tmp_path, SLIPWAY_ROUTER_PORT="eighty")
    assert done.returncode == 1
    assert "SLIPWAY_ROUTER_PORT=eighty cannot be used: Input should be a valid integer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio.up.home.NEEDED_BYTES", 1 << 60)
    with pytest.raises(CannotStartError, match="The disk is full"), open_home(tmp_path):
        pytest.fail("must not open")


def test_a_lock_left_by_a_dead_process_does_not_hold(tmp_path: Path) -> None:
    holder = "import sys; from studio.up.home import open_home; from pathlib import Path\n"
    holder += "with open_home(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holder, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.kill()
    with open_home(tmp_path) as home:
        assert (home / "lock").read_text() == str(os.getpid())


def test_a_reused_pid_is_not_taken_for_the_cluster() -> None:
    mine = Record(pid=os.getpid(), start_time=start_time_of(os.getpid()), code="")
    assert is_running(mine, pid=os.getpid())
    assert not is_running(Record(pid=os.getpid(), start_time=mine.start_time + 1, code=""), pid=os.getpid())


def test_a_free_port_passes() -> None:
    require_free("127.0.0.1", pick_free(), what="the studio", setting="SLIPWAY_PORT")


def test_the_request_to_paste_holds_address_key_and_body() -> None:
    answering = Answering("http://127.0.0.1:1/score", "k3y", '{"data": [[1]]}', 200, None, 1.0)
    assert as_curl(answering).startswith("curl http://127.0.0.1:1/score")
    assert "Bearer k3y" in as_curl(answering)
    compile(as_python(answering), "pasted", "exec")

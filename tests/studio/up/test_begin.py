"""The cluster's process is begun before its options are known, and harms nothing when they never come."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from studio.up.begin import ROOT, BegunCluster, begin_cluster
from studio.up.cluster import ClusterProcess


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder that a cluster ran in before."""
    (tmp_path / "run").mkdir()
    return tmp_path


def begin(home: Path) -> BegunCluster:
    return BegunCluster(home / "cluster", log=home / "run" / "cluster.log")


def test_it_runs_with_the_options_it_is_told(home: Path) -> None:
    begun = begin(home)
    try:
        said = json.loads(begun.run(["--port", "0", "--fake-kubelet"]))
        assert said["server"].startswith("https://127.0.0.1:")
        assert (home / "cluster" / "kubeconfig").exists()
    finally:
        begun.process.send_signal(signal.SIGTERM)
        assert begun.process.wait(20) == 0


def test_whoever_began_it_and_is_killed_leaves_nothing(home: Path) -> None:
    program = (
        "import os; from pathlib import Path; from studio.up.begin import BegunCluster; "
        f"begun = BegunCluster(Path({str(home / 'cluster')!r}), log=Path({str(home / 'run/cluster.log')!r})); "
        "print(begun.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    waiting = os.pidfd_open(int(done.stdout)) if Path(f"/proc/{int(done.stdout)}").exists() else None
    if waiting is not None:
        assert select.select([waiting], [], [], 20)[0], "it still waits for its options"
        os.close(waiting)
    assert not (home / "cluster").exists()
    assert (home / "run" / "cluster.log").read_text() == ""


def test_a_start_that_fails_ends_it(home: Path) -> None:
    with begin(home) as begun:
        pass
    assert begun.process.returncode == -signal.SIGKILL
    assert not (home / "cluster").exists()


def test_in_a_new_home_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "new"))
    with begin_cluster() as begun:
        assert begun is None
    assert not (tmp_path / "new").exists()


def test_one_begun_in_another_home_is_not_taken(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "run").mkdir()
    with begin(home) as begun:
        cluster = ClusterProcess(other, port=0, isolation="none")
        cluster.start(begun)
        assert begun.process.returncode == -signal.SIGKILL
        try:
            cluster.wait_ready()
            assert (other / "cluster" / "kubeconfig").exists()
        finally:
            cluster.stop()
    assert not (home / "cluster").exists()

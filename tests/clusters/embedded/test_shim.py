"""The process that holds a container: what happens in its first moment."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# A kernel may let the container end before its parent has come back from fork().
PROGRAM = """
import os, sys
fork = os.fork
def slow_fork():
    pid = fork()
    if pid:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid
os.fork = slow_fork
from clusters.embedded.kubelet.shim import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_container_that_ends_before_fork_has_returned_is_told_as_ended(tmp_path: Path) -> None:
    spec = {
        "argv": ["/bin/sh", "-c", "exit 3"],
        "env": {},
        "cwd": "/",
        "user": os.geteuid(),
        "group": os.getegid(),
        "supplementary_groups": [],
        "change_user": False,
        "no_new_privileges": False,
        "namespaces": False,
        "user_namespace": False,
        "own_pids": False,
        "cgroups": [],
        "root": None,
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    lock, ready = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR), os.open(os.devnull, os.O_WRONLY)
    command = [sys.executable, "-c", PROGRAM, "run", str(tmp_path), str(lock), str(ready)]

    subprocess.run(command, cwd=ROOT, pass_fds=(lock, ready), check=True, timeout=30)

    assert json.loads((tmp_path / "exit.json").read_text())["exitCode"] == 3

"""The embedded cluster's process, begun before its options are known.

It imports for half a second, and everything that answers callers waits for it. So the start begins it first, with
nothing imported here, and tells it its options when the studio has read its own and holds the home folder. Until then
it touches nothing, and it ends by itself when whoever began it does.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]


class BegunCluster:
    """`python -m clusters.embedded --data DATA --wait`, waiting for the rest of its options."""

    def __init__(self, data: Path, *, log: Path) -> None:
        self.data = data
        self._told = False
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "clusters.embedded", "--data", str(data), "--wait"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                text=True,
            )

    def run(self, options: list[str]) -> str:
        """Tell it the options; the line it prints when it is ready, or "" when it ended instead."""
        self._told = True
        assert self.process.stdin is not None and self.process.stdout is not None  # noqa: S101, PT018 - both PIPE
        with contextlib.suppress(BrokenPipeError), self.process.stdin as stdin:
            stdin.write("\n".join(options))
        with self.process.stdout as stdout:
            return stdout.readline()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def discard(self) -> None:
        """End it, unless it was told to run."""
        if not self._told and self.process.returncode is None:
            self.process.kill()
            self.process.communicate()


def begin_cluster() -> contextlib.AbstractContextManager[BegunCluster | None]:
    """The cluster of the home folder the environment names, if it ran there before: of a new one nothing can be begun.

    Whether that is the home folder is for studio.env to say, which checks all settings.
    """
    home = Path(os.environ.get("SLIPWAY_HOME") or "var").resolve()
    try:
        return BegunCluster(home / "cluster", log=home / "run" / "cluster.log")
    except OSError:
        return contextlib.nullcontext()

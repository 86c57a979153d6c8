"""Train the sample on this machine, beside everything else the first run does.

In a virtual environment of its own under HOME/sample, because the studio itself carries no machine-learning library.
Its packages come through the cache that the embedded cluster's build pods use, so that nothing is downloaded twice when
the deployment's environment is built.
"""

import subprocess
import sys
import threading
from pathlib import Path

from studio.up.errors import CannotStartError
from studio.up.report import Report


class Training:
    """A training that runs in the background."""

    def __init__(self, thread: threading.Thread, *, model: Path, failures: list[str]) -> None:
        self._thread = thread
        self._model = model
        self._failures = failures

    def wait(self) -> list[Path]:
        """The model's files; CannotStartError with what the installer or the script said last."""
        self._thread.join()
        if self._failures:
            raise CannotStartError(f"The sample could not be trained: {self._failures[0]}")
        return [self._model]


def train_sample(sample: Path, *, out: Path, cache: Path, report: Report) -> Training:
    """Start `sample`/train.py, unless `out`/model.joblib is there; `cache` is uv's."""
    model, needed = out / "model.joblib", sample / "requirements.txt"
    failures: list[str] = []
    commands = [
        [uv(), "venv", "--quiet", "--clear", "--python", sys.executable, str(out / "venv")],
        [uv(), "pip", "install", "--quiet", "--cache-dir", str(cache), "--python", python_of(out), "-r", str(needed)],
        [python_of(out), str(sample / "train.py"), "--out", str(out)],
    ]

    def work() -> None:
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                said = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
                failures.append(f"{Path(command[0]).name}: {said[-1]}")
                return
        report.step(done.stdout.strip())

    thread = threading.Thread(target=work if not model.exists() else lambda: None, name="training", daemon=True)
    thread.start()
    return Training(thread, model=model, failures=failures)


def uv() -> str:
    return str(Path(sys.executable).with_name("uv"))


def python_of(out: Path) -> str:
    return str(out / "venv" / "bin" / "python")

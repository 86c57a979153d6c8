"""Train the sample on this machine, beside everything else the first run does.

In a virtual environment that lives only as long as the training, below HOME/sample, because the studio itself carries
no machine-learning library. Its packages come through the cache that the embedded cluster's build pods use, so that
nothing is downloaded twice when the deployment's environment is built.

Each attempt has a folder of its own, and the model is moved into its place when it is whole: what a killed start left
behind may still be at work for a moment, and cannot get in the way of the next one.
"""

import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from studio.up.errors import CannotStartError
from studio.up.report import Report


class Training:
    """A training in the background; `stop` ends it."""

    def __init__(self, sample: Path, *, out: Path, cache: Path, report: Report) -> None:
        self._sample, self._out, self._cache, self._report = sample, out, cache, report
        self._model = out / "model.joblib"
        self._failure = ""
        self._running: subprocess.Popen[str] | None = None
        self._stopped = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="training", daemon=True)

    def start(self) -> None:
        """Begin, unless the model is there from an earlier start."""
        self._thread.start()

    def wait(self) -> list[Path]:
        """The model's files; CannotStartError with what the installer or the script said last."""
        self._thread.join()
        if self._failure:
            raise CannotStartError(f"The sample could not be trained: {self._failure}")
        return [self._model]

    def stop(self) -> None:
        """End what runs."""
        with self._lock:
            self._stopped = True
            if self._running:
                self._running.kill()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def _work(self) -> None:
        if self._model.exists():
            return
        self._out.mkdir(parents=True, exist_ok=True)
        for leftover in self._out.glob("attempt-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="attempt-", dir=self._out, ignore_cleanup_errors=True) as folder:
            said = ""
            for command in self._commands(Path(folder)):
                said, self._failure = self._run(command)
                if self._failure:
                    return
            (Path(folder) / self._model.name).replace(self._model)
            self._report.step(said)

    def _commands(self, folder: Path) -> list[list[str]]:
        python = str(folder / "venv" / "bin" / "python")
        wanted = str(self._sample / "requirements.txt")
        return [
            [uv(), "venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
            [uv(), "pip", "install", "--quiet", "--cache-dir", str(self._cache), "--python", python, "-r", wanted],
            [python, str(self._sample / "train.py"), "--out", str(folder)],
        ]

    def _run(self, command: list[str]) -> tuple[str, str]:
        """What it printed, and its last line when it failed."""
        with self._lock:
            if self._stopped:
                return "", "the studio was stopped"
            self._running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        printed = self._running.communicate()[0].strip()
        if self._running.returncode == 0:
            return printed, ""
        return "", f"{Path(command[0]).name}: {(printed.splitlines() or ['it said nothing'])[-1]}"


def uv() -> str:
    return str(Path(sys.executable).with_name("uv"))

"""The sample is trained beside the first run, whatever an earlier one left behind."""

import os
from pathlib import Path

import pytest

from studio.up.errors import CannotStartError
from studio.up.report import JsonReport
from studio.up.training import Training

TRAINS = """
import pathlib, sys
(pathlib.Path(sys.argv[2]) / "model.joblib").write_text("trained")
print("Trained.")
"""
WAITS = """
import os, signal
with open({fifo!r}, "w") as told:
    told.write(str(os.getpid()))
signal.pause()
"""


def training(folder: Path, *, script: str) -> Training:
    sample = folder / "made"
    sample.mkdir(exist_ok=True)
    (sample / "requirements.txt").write_text("")
    (sample / "train.py").write_text(script)
    return Training(sample, out=folder / "sample", cache=folder / "cache", report=JsonReport())


def test_a_training_leaves_the_model_and_nothing_else(tmp_path: Path) -> None:
    one = training(tmp_path, script=TRAINS)
    one.start()
    assert [file.read_text() for file in one.wait()] == ["trained"]
    assert [each.name for each in (tmp_path / "sample").iterdir()] == ["model.joblib"]


def test_a_model_that_is_there_is_kept(tmp_path: Path) -> None:
    first = training(tmp_path, script=TRAINS)
    first.start()
    first.wait()
    second = training(tmp_path, script="raise SystemExit('trained again')")
    second.start()
    assert second.wait()[0].read_text() == "trained"


def test_what_a_killed_training_left_behind_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "sample" / "attempt-of-before" / "venv"
    left.mkdir(parents=True)
    (left / "half").touch()
    one = training(tmp_path, script=TRAINS)
    one.start()
    one.wait()
    assert [each.name for each in (tmp_path / "sample").iterdir()] == ["model.joblib"]


def test_a_script_that_fails_is_told_by_its_last_line(tmp_path: Path) -> None:
    one = training(tmp_path, script="raise RuntimeError('no flowers')")
    one.start()
    with pytest.raises(CannotStartError, match=r"could not be trained: python: RuntimeError: no flowers"):
        one.wait()


def test_a_stopped_training_leaves_no_process(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    one = training(tmp_path, script=WAITS.format(fifo=str(fifo)))
    one.start()
    pid = int(fifo.read_text())  # returns when the script has told it
    one.stop()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(CannotStartError):
        one.wait()

"""The running cache and the breakable network of `processes`, as fixtures that end what they started."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.routerd.artifacts.processes import RunningCache, Wire


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[RunningCache]:
    running = RunningCache(directory=tmp_path / "cache")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    wires: list[Wire] = []

    def build(target: str, *, limits: list[int]) -> Wire:
        wires.append(Wire(target, limits=limits))
        return wires[-1]

    yield build
    for each in wires:
        each.close()

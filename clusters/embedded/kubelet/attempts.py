"""The starts ("attempts") of one container on disk: ``<home>/<n>``, n being the restart count.

The last one and the one before it are kept, for logs and for `lastState`.
"""

import hashlib
import shutil
from pathlib import Path

from clusters.embedded.kubelet.process import Exit, read_exit
from clusters.embedded.kubelet.status import Terminated
from clusters.embedded.kubelet.termination import terminated
from clusters.embedded.resources import Obj


class Attempts:
    def __init__(self, home: Path, *, pod_uid: str, container: Obj) -> None:
        self._home = home
        self._pod_uid = pod_uid
        self._container = container
        self.number = max(self._numbers(), default=-1)  # of the current one; -1 before the first

    @property
    def current(self) -> Path:
        return self._home / str(self.number)

    @property
    def previous(self) -> Path:
        return self._home / str(self.number - 1)

    @property
    def following(self) -> Path:
        return self._home / str(self.number + 1)

    @property
    def container_id(self) -> str:
        """Of the current one, as the API shows it."""
        text = f"{self._pod_uid}/{self._container['name']}/{self.number}"
        return "process://" + hashlib.sha256(text.encode()).hexdigest()

    def advance(self) -> None:
        """Make the following one the current one."""
        self.number += 1
        for number in self._numbers():
            if number < self.number - 1:
                shutil.rmtree(self._home / str(number), ignore_errors=True)

    def told(self, end: Exit) -> Terminated:
        """The end of the current one, as the pod's status says it."""
        return terminated(end, container=self._container, attempt=self.current, container_id=self.container_id)

    def previous_end(self) -> Terminated | None:
        """How the one before ended, as far as the disk still knows."""
        if not (self.previous / "lock").exists():  # there was none, or it never began
            return None
        end = read_exit(self.previous)
        return Terminated(end.exit_code, "Error" if end.exit_code else "Completed", end.started_at, end.finished_at)

    def _numbers(self) -> list[int]:
        if not self._home.is_dir():
            return []
        return [int(path.name) for path in self._home.iterdir() if path.name.isdigit()]

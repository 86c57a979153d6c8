"""How the end of a container's process is told: reason, exit code, message (reads files of the attempt only)."""

import contextlib
from datetime import datetime
from pathlib import Path
from typing import Final

from clusters.embedded.kubelet.process import Exit
from clusters.embedded.kubelet.status import Terminated
from clusters.embedded.resources import Obj

_MESSAGE_BYTES: Final = 4096
_LOG_MESSAGE_BYTES: Final = 2048


def terminated(end: Exit, *, container: Obj, attempt: Path, container_id: str) -> Terminated:
    """The state `terminated` of this attempt."""
    return Terminated(
        exit_code=end.exit_code,
        reason=_reason(end),
        started_at=end.started_at,
        finished_at=end.finished_at,
        message=_message(end, container=container, attempt=attempt),
        container_id=container_id,
    )


def seconds_run(end: Exit) -> float:
    """How long it ran; 0 when it never began."""
    if not end.started_at or not end.finished_at:
        return 0.0
    began, over = (datetime.fromisoformat(text[:26] + "+00:00") for text in (end.started_at, end.finished_at))
    return (over - began).total_seconds()


def _reason(end: Exit) -> str:
    if end.error and not end.started_at:
        return "StartError"
    if not end.known:
        return "ContainerStatusUnknown"
    if end.oom_killed:
        return "OOMKilled"
    return "Completed" if end.exit_code == 0 else "Error"


def _message(end: Exit, *, container: Obj, attempt: Path) -> str:
    if end.error:
        return end.error
    if not end.known:
        return "The container could not be located when the pod was terminated"
    with contextlib.suppress(OSError):
        told = (attempt / "termination-log").read_bytes()[:_MESSAGE_BYTES].decode(errors="replace")
        if told:
            return told
    if end.exit_code and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        return _last_log_lines(attempt / "log")
    return ""


def _last_log_lines(path: Path) -> str:
    """The end of a CRI log: at most 2 KiB, 80 lines."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4 * _LOG_MESSAGE_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    texts = [line.split(" ", 3)[3] for line in lines if line.count(" ") >= 3]
    return "\n".join(texts[-80:])[-_LOG_MESSAGE_BYTES:]

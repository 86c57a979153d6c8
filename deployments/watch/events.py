"""An event of the cluster as a line of a log."""

from datetime import datetime
from typing import Any

from studio.services.logs import Line


def line_of(event: dict[str, Any]) -> Line | None:
    """The line, or None when the event has no time (then it is none that was recorded)."""
    stamp = event.get("eventTime") or event.get("lastTimestamp") or event.get("firstTimestamp")
    if not stamp:
        return None
    level = "warn" if event.get("type") == "Warning" else "info"
    text = f"{event.get('reason', '')}: {event.get('message', '')}"
    return Line(at=datetime.fromisoformat(stamp), source="event", text=text, level=level)

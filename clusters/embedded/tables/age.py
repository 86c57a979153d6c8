"""Ages as kubectl writes them: 5s, 3m12s, 2h5m, 4d (pure)."""

from datetime import datetime


def age(moment: str | None, now: datetime) -> str:
    """How long ago an RFC 3339 moment was."""
    then = _read(moment)
    return "<unknown>" if then is None else _words(int((now - then).total_seconds()))


def duration(start: str, end: str) -> str:
    first, last = _read(start), _read(end)
    if first is None or last is None:
        return "<unknown>"
    return _words(int((last - first).total_seconds()))


def length(seconds: int) -> str:
    """So many seconds."""
    return _words(seconds)


def _read(moment: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(moment) if moment else None
    except ValueError:
        return None


def _words(seconds: int) -> str:
    """kubectl's HumanDuration."""
    seconds = max(seconds, 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{seconds % 60}s" if seconds % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    if days < 365 * 2:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y" + (f"{rest}d" if rest and years < 8 else "")

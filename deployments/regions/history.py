"""The History tab: the audit of one endpoint and its deployments, in sentences.

The audit keeps codes and the state before and after; here they become what somebody did. An action nobody gave words to
is shown by its code, so that nothing is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from django.db.models import Q

from deployments.models import Endpoint
from deployments.specs.paths import flatten
from studio.models import AuditEntry
from studio.paging import Page, page_of

MOST_CHANGES: Final = 6  # settings named in one line
_ICONS: Final = {"key": "key", "deployment": "model", "endpoint": "endpoint"}


@dataclass(frozen=True, slots=True)
class Change:
    """One line: who, what in words, the figures of it."""

    icon: str
    who: str
    did: str
    detail: str
    at: datetime


def history_region(endpoint: Endpoint, *, number: int) -> Page:
    """A page of changes, newest first; deployments that are gone are in it. One query."""
    mine = Q(subject_kind="endpoint", subject_id=str(endpoint.pk))
    behind = Q(subject_kind="deployment", subject_label__startswith=f"{endpoint.name} / ", at__gte=endpoint.created_at)
    page = page_of(AuditEntry.objects.filter(mine | behind, workspace_id=endpoint.workspace_id), number=number)
    return replace(page, rows=[_change(each) for each in page.rows])


def _change(entry: AuditEntry) -> Change:
    did, detail = tell_change(
        entry.action, name=entry.subject_label.rpartition(" / ")[2], before=entry.before or {}, after=entry.after or {}
    )
    icon = _ICONS.get(entry.action.partition(".")[0], "audit")
    return Change(icon=icon, who=entry.actor_name, did=did, detail=detail, at=entry.at)


def tell_change(action: str, *, name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, str]:
    """What was done, and the figures of it; both begin small. Pure."""
    match action:
        case "endpoint.create":
            return "made the endpoint", f"on {after.get('compute', '')}"
        case "endpoint.delete":
            return "deleted the endpoint", ""
        case "endpoint.traffic":
            return "moved traffic", f"{_shares(before)}, now {_shares(after)}"
        case "endpoint.test":
            answered = f" by {after['deployment']}" if after.get("deployment") else ""
            return "sent a test request", f"answered {after.get('status', '')}{answered}"
        case "key.rotate":
            return f"rotated the {after.get('key', '')} key", ""
        case "key.show":
            return f"looked at the {after.get('key', '')} key", ""
        case "deployment.deploy":
            return f"deployed {name}, revision {after.get('revision', '')}", tell_difference(before, after)
        case "deployment.delete":
            return f"deleted {name}", ""
    return action, ""


def _shares(state: Mapping[str, Any]) -> str:
    shares = [f"{name} {percent} %" for name, percent in sorted((state.get("traffic") or {}).items())]
    shares += [f"mirror {name} {percent} %" for name, percent in (state.get("mirror") or {}).items()]
    return ", ".join(shares) or "nobody"


def tell_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The settings that changed: "model bert:12 to bert:13, max instances 3 to 8"."""
    if not before:
        return f"{after.get('model') or 'no model'}, {after.get('environment', '')}"
    was, now = flatten(before), flatten({key: value for key, value in after.items() if key != "revision"})
    changed = [path for path in sorted({*was, *now}) if was.get(path) != now.get(path)]
    told = [_told(path, was=was.get(path, ""), now=now.get(path, "")) for path in changed[:MOST_CHANGES]]
    more = len(changed) - len(told)
    return ", ".join([*told, f"{more} more"] if more > 0 else told) or "the same settings"


def _told(path: str, *, was: str, now: str) -> str:
    name = path.rpartition(".")[2].replace("_", " ")
    if name == "code":
        return "other code"
    return f"{name} {was or 'none'} to {now or 'none'}"

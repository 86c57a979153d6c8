"""Events: what controllers, scheduler and kubelet tell about objects.

The name is a digest of what is told, so the same thing told again finds its Event and counts it up. What is told in
other words each time (a refused pod has a new name at every try) is combined after the tenth within ten minutes, as
Kubernetes' own programs do: from then on one Event counts them, and shows the last.
"""

import hashlib
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.resources import Obj

_LIFE: Final = timedelta(hours=1)
_SIMILAR: Final = 10
_SIMILAR_WITHIN: Final = timedelta(minutes=10)
_GROUPS_KEPT: Final = 4096


def event_for(
    obj: Obj,
    *,
    type: str,  # noqa: A002 -- Kubernetes' own word: Normal or Warning
    reason: str,
    message: str,
    component: str,
    now: datetime,
) -> Obj:
    metadata = obj["metadata"]
    at = rfc3339(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": _name(metadata, type, reason, message, component),
            "namespace": metadata.get("namespace", "default"),
        },
        "involvedObject": _reference(obj),
        "type": type,
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
        "firstTimestamp": at,
        "lastTimestamp": at,
        "eventTime": None,
        "count": 1,
    }


def _reference(obj: Obj) -> Obj:
    metadata = obj["metadata"]
    reference = {
        "apiVersion": obj.get("apiVersion", "v1"),
        "kind": obj.get("kind", ""),
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    return reference | ({"namespace": metadata["namespace"]} if "namespace" in metadata else {})


def _name(metadata: Obj, *told: str) -> str:
    digest = hashlib.sha256("\0".join((metadata.get("uid", ""), *told)).encode()).hexdigest()[:16]
    return f"{metadata['name']}.{digest}"


class Similar:
    """Which Events differ in their message only. It remembers a few thousand groups, since the start of the process."""

    def __init__(self) -> None:
        self._groups: OrderedDict[str, tuple[datetime, set[str]]] = OrderedDict()  # name -> last time, messages

    def combine(self, event: Obj, *, now: datetime) -> Obj:
        """The Event itself, or the one that stands for its group from the tenth message on."""
        about = event["involvedObject"]
        name = _name(about, event["type"], event["reason"], event["source"]["component"])
        last, messages = self._groups.pop(name, (now, set()))
        if now - last > _SIMILAR_WITHIN:
            messages = set()
        if len(messages) < _SIMILAR:
            messages.add(event["message"])
        self._groups[name] = (now, messages)
        while len(self._groups) > _GROUPS_KEPT:
            self._groups.popitem(last=False)
        if len(messages) < _SIMILAR:
            return event
        metadata = {**event["metadata"], "name": name}
        return {**event, "metadata": metadata, "message": f"(combined from similar events): {event['message']}"}


def expired(event: Obj, *, now: datetime) -> bool:
    """Whether an Event has not been told again for an hour."""
    last = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    try:
        return now - datetime.fromisoformat(last) > _LIFE
    except (TypeError, ValueError):  # written by a client, with a time we cannot read
        return False

"""Events: what controllers, scheduler and kubelet tell about objects (pure).

The name is a digest of what is told, so the same thing told again finds its Event and counts it up.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Final

from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.resources import Obj

_LIFE: Final = timedelta(hours=1)


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
    told = "\0".join((metadata.get("uid", ""), type, reason, message, component))
    digest = hashlib.sha256(told.encode()).hexdigest()[:16]
    at = rfc3339(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{digest}",
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


def expired(event: Obj, *, now: datetime) -> bool:
    """Whether an Event has not been told again for an hour."""
    last = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    try:
        return now - datetime.fromisoformat(last) > _LIFE
    except (TypeError, ValueError):  # written by a client, with a time we cannot read
        return False

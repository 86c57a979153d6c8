"""kubectl's columns of a CertificateSigningRequest (pure)."""

from datetime import datetime
from typing import Any, Final

from clusters.embedded.resources import Obj
from clusters.embedded.tables_age import age, length

COLUMNS: Final = "Name,Age,SignerName,Requestor,RequestedDuration,Condition"


def cells(obj: Obj, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    asked = "<none>" if seconds is None else length(seconds)
    created = age(obj["metadata"].get("creationTimestamp"), now)
    return [created, spec.get("signerName", "<none>"), spec.get("username", ""), asked, _condition(obj)]


def _condition(obj: Obj) -> str:
    status = obj.get("status") or {}
    types = {condition.get("type") for condition in status.get("conditions") or ()}
    words = "Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"
    return words + (",Failed" if "Failed" in types else "") + (",Issued" if status.get("certificate") else "")

"""Certificates callers see: Secrets in, what HAProxy is given and what is said of it out. Pure.

Each Secret of type kubernetes.io/tls (`tls.crt`, `tls.key`) that the settings name is one certificate. The first is
shown to callers who name no host, or one that no certificate is for; the others to callers of the hosts they are made
for. `ca.crt` of the first holds the authorities of callers' own certificates, where they are asked for.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from routerd.control import CertificateState, Condition
from routerd.routes import Object

CONDITION: Final = "CertificateValid"
WARN_SECONDS: Final = 30 * 86400.0


class CertificateError(ValueError):
    """A Secret that holds no usable certificate; the message says what is wrong with it."""


def read_secret(item: Object) -> tuple[str, str | None]:
    """(certificates and key as HAProxy wants them, authorities of callers or None). Raises CertificateError."""
    data = item.get("data") or {}
    parts = {name: _decode(data, name) for name in ("tls.crt", "tls.key", "ca.crt")}
    if not parts["tls.crt"] or not parts["tls.key"]:
        raise CertificateError("it holds no tls.crt and tls.key")
    return f"{parts['tls.crt']}\n{parts['tls.key']}\n", f"{parts['ca.crt']}\n" if parts["ca.crt"] else None


def _decode(data: Mapping[str, object], name: str) -> str:
    try:
        text = base64.b64decode(str(data.get(name) or ""), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise CertificateError(f"{name} is not a PEM text in base64: {error}") from error
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())  # a blank line would end a command


def certificate_condition(states: Iterable[CertificateState], *, now: float) -> Condition | None:
    """What to say of the certificates: the worst first; None where there are none."""
    found = [_judge(state, now=now) for state in states]
    return min(found, key=lambda condition: condition.status) if found else None


def _judge(state: CertificateState, *, now: float) -> Condition:
    name = f"Secret {state.secret}"
    if state.not_after is None:
        why = state.problem or "it is not there"
        message = f"{name}: {why}. Callers get a placeholder that they refuse: put a certificate there."
        return Condition(CONDITION, False, "CertificateMissing", message)
    day = datetime.fromtimestamp(state.not_after, UTC).strftime("%Y-%m-%d")
    if state.problem:
        message = f"{name} cannot be used: {state.problem}. The one before, valid until {day}, stays."
        return Condition(CONDITION, False, "CertificateInvalid", message)
    if state.not_after <= now:
        return Condition(CONDITION, False, "CertificateExpired", f"{name} expired on {day}: renew it.")
    if state.not_after - now < WARN_SECONDS:
        return Condition(CONDITION, False, "CertificateExpiresSoon", f"{name} expires on {day}: renew it.")
    return Condition(CONDITION, True, "CertificateTrusted", f"{name} is valid until {day}.")

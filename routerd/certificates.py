"""Keeps HAProxy's certificates those of the Secrets: hot, without a reload, and says until when they are valid.

Level-triggered like the reconciler: `offer` leaves the newest Secrets and wakes the loop, which gives HAProxy what
differs from what it has. A Secret that is gone or cannot be used changes nothing but what is said of it.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from routerd.control import CertificateState
from routerd.haproxy.certificates import (
    authorities_file,
    certificate_file,
    is_placeholder,
    tls_directory,
    write_private,
)
from routerd.haproxy.runtime import Runtime, RuntimeUnavailable
from routerd.routes import Object
from routerd.settings import Settings
from routerd.tls import CertificateError, read_secret

log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 60.0
_SUCCESS: Final = "Success!"


class CertificateKeeper:
    """The one writer of HAProxy's certificates."""

    def __init__(self, settings: Settings, *, runtime: Runtime) -> None:
        self._settings, self._runtime = settings, runtime
        self._offered: Mapping[str, Object] | None = None
        self._given: dict[str, str] = {}  # file name -> text HAProxy was given
        self._states: dict[str, CertificateState] = {}
        self._wake = asyncio.Event()

    def offer(self, secrets: Mapping[str, Object]) -> None:
        """Take the Secrets there are, by name; those of other names are nobody's business here."""
        if secrets != self._offered:
            self._offered = dict(secrets)
            self._wake.set()

    def states(self) -> tuple[CertificateState, ...]:
        """What HAProxy has, the default certificate first; empty before the first look."""
        return tuple(self._states[name] for name in self._settings.tls_secrets if name in self._states)

    def looked(self) -> bool:
        """Whether HAProxy has been given what can be used of every Secret; True without TLS."""
        return not self._settings.tls_port or all(name in self._states for name in self._settings.tls_secrets)

    async def run(self) -> None:
        """Turn until cancelled."""
        while True:
            delay = _LOOK_SECONDS
            self._wake.clear()
            if self._offered is not None:
                try:
                    for name in self._settings.tls_secrets:
                        await self._keep(name, item=self._offered.get(name))
                except RuntimeUnavailable:
                    delay = _RETRY_SECONDS
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _keep(self, name: str, *, item: Object | None) -> None:
        problem, not_after = None, None
        try:
            if item is None:
                problem = "it is not there"
            else:
                await self._give(name, item=item)
        except CertificateError as error:
            problem = str(error)
        try:
            not_after = await self._expiry(name)
        except CertificateError as error:
            problem = problem or str(error)
        state = CertificateState(secret=name, not_after=not_after, problem=problem)
        if state != self._states.get(name):
            log.log(
                logging.WARNING if problem else logging.INFO, "Certificate of Secret %s: %s", name, problem or "in use"
            )
        self._states[name] = state

    async def _give(self, name: str, *, item: Object) -> None:
        text, authorities = read_secret(item)
        path = certificate_file(self._settings, secret=name)
        if self._given.get(name) != text:
            check_certificate(self._settings, text=text)
            await replace_certificate(self._runtime, path=path, text=text)
            self._given[name] = text
        if self._settings.tls_client_auth == "none" or name != self._settings.tls_secrets[0]:
            return
        if authorities is None:
            raise CertificateError("it holds no ca.crt, by which callers' certificates would be known")
        if self._given.get("ca.crt") != authorities:
            where = authorities_file(self._settings)
            await replace_certificate(self._runtime, path=where, text=authorities, kind="ca-file")
            self._given["ca.crt"] = authorities

    async def _expiry(self, name: str) -> float | None:
        if is_placeholder(self._settings, secret=name):
            return None
        return await read_expiry(self._runtime, path=certificate_file(self._settings, secret=name))


def check_certificate(settings: Settings, *, text: str) -> None:
    """Raises CertificateError unless certificate and key belong together."""
    candidate = tls_directory(settings) / ".candidate"
    write_private(candidate, text=text)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(candidate)
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(f"certificate and key are not usable together ({error})") from error
    finally:
        candidate.unlink()


async def replace_certificate(runtime: Runtime, *, path: Path, text: str, kind: str = "cert") -> None:
    """Let HAProxy serve `text` from the next connection on. Raises CertificateError, RuntimeUnavailable.

    `kind`: `cert`, or `ca-file` for authorities.
    """
    write_private(path, text=text)
    set_it, commit = f"set ssl {kind} {path} <<\n{text.strip()}", f"commit ssl {kind} {path}"
    told, done = await runtime.execute(set_it, commit)
    if _SUCCESS not in done:
        raise CertificateError(f"HAProxy refuses it: {(told or done).strip()[-200:]}")


async def read_expiry(runtime: Runtime, *, path: Path) -> float:
    """Until when the certificate HAProxy serves is valid, in unix seconds. Raises CertificateError."""
    (text,) = await runtime.execute(f"show ssl cert {path}")
    for line in text.splitlines():
        name, _, value = line.partition(": ")
        if name == "notAfter":
            return float(ssl.cert_time_to_seconds(value.strip()))
    raise CertificateError(f"HAProxy does not know {path}")

"""Why a connection failed, in words an operator can act on."""

import http.client
import socket
import ssl

import urllib3


class RefusedAddressError(OSError):
    """The address is one the studio never connects to."""


def explain(error: Exception) -> str:
    """A connection error in plain words, without addresses of objects in memory."""
    for each in _chain(error):
        words = _words(each)
        if words:
            return words
    return f"failed: {type(error).__name__}"


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = (
            getattr(error, "reason", None)
            if isinstance(getattr(error, "reason", None), BaseException)
            else (error.__cause__ or error.__context__)
        )
    return found[::-1]


def _words(error: BaseException) -> str:
    if isinstance(error, RefusedAddressError):
        return f"is not allowed: {error}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"does not speak TLS as expected ({error.reason or error})"
    if isinstance(error, socket.gaierror):
        return "has a name that cannot be resolved"
    if isinstance(error, (TimeoutError, urllib3.exceptions.TimeoutError)):
        return "did not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "refuses connections: nothing listens there"
    if isinstance(error, (ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError)):
        return "closed the connection"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be reached: {error.strerror}"
    return ""

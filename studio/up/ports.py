"""Ports: found taken before anything is started, and said in one sentence."""

import socket

from studio.up.errors import CannotStartError


def require_free(host: str, port: int, *, what: str, setting: str) -> None:
    """Raise CannotStartError when nobody can listen on `host`:`port`."""
    if port == 0:
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStartError(
                f"Port {port} on {host}, for {what}, cannot be used: {error.strerror}. "
                f"Stop what listens there, or choose another: {setting}={port + 1} make up"
            ) from error


def pick_free(host: str = "127.0.0.1") -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port

"""The files HAProxy reads its certificates from.

    tls/NAME.pem        certificate and key of the Secret NAME; a placeholder until it has been seen
    tls/callers.pem     authorities of callers' own certificates
    tls/list            the certificates in order, the default one first

What is on disk is what HAProxy serves, before and after a restart (see `routerd.certificates`). Standard library only:
the supervisor prepares them.
"""

import secrets
from pathlib import Path

from routerd.identity import AUTHORITY_FILE, CERTIFICATE_FILE, ensure_identity
from routerd.settings import Settings


def tls_directory(settings: Settings) -> Path:
    """Where the files are."""
    return settings.run_dir / "tls"


def certificate_file(settings: Settings, *, secret: str) -> Path:
    """The file of one Secret's certificate."""
    return tls_directory(settings) / f"{secret}.pem"


def authorities_file(settings: Settings) -> Path:
    """The authorities of callers' certificates."""
    return tls_directory(settings) / "callers.pem"


def prepare_certificates(settings: Settings) -> None:
    """Put a placeholder where no certificate has been seen yet, so that HAProxy starts."""
    directory = tls_directory(settings)
    directory.mkdir(mode=0o700, exist_ok=True)
    files = [certificate_file(settings, secret=name) for name in settings.tls_secrets]
    wanted = dict.fromkeys(files, CERTIFICATE_FILE) | {authorities_file(settings): AUTHORITY_FILE}
    missing = [path for path in wanted if not path.exists()]
    if missing:
        ensure_identity(directory, secret=secrets.token_hex(32))
        for path in missing:
            write_private(path, text=(directory / wanted[path]).read_text())
    write_private(directory / "list", text="".join(f"{path}\n" for path in files))


def is_placeholder(settings: Settings, *, secret: str) -> bool:
    """Whether a Secret's certificate has not been seen yet."""
    placeholder = tls_directory(settings) / CERTIFICATE_FILE
    path = certificate_file(settings, secret=secret)
    return placeholder.exists() and path.read_text() == placeholder.read_text()


def write_private(path: Path, *, text: str) -> None:
    """Replace a file that only this user may read."""
    partial = path.with_name(f".{path.name}.new")
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.replace(path)

"""The certificates by which routers know each other, made from the secret they all hold (the admin token).

The secret gives every router the same key of one private authority. Each signs a certificate of its own with it, and
lets in who shows one of that authority: mutual TLS without anything to hand out, store or renew.

    secret ──SHA-512──> key of the authority (the same everywhere) ──signs──> certificate and key of this router

Run as a program (`python -m routerd.identity DIRECTORY`, the secret on standard input), because the supervisor that
needs the files must not carry the cryptography in its memory.
"""

import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

AUTHORITY_FILE: Final = "peers.pem"
CERTIFICATE_FILE: Final = "peer.pem"
_MARK_FILE: Final = "peer.mark"  # tells by which secret the files were made
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of the curve P-256
_FROM, _UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)


class IdentityError(Exception):
    """The certificates could not be made; the message says why."""


def ensure_identity(directory: Path, *, secret: str) -> None:
    """Make the certificates of a run directory unless they are there and of this secret. Raises IdentityError."""
    mark = hashlib.sha256(b"routerd peers mark" + secret.encode()).hexdigest()
    marked = directory / _MARK_FILE
    if marked.exists() and marked.read_text() == mark:
        return
    command = [sys.executable, "-m", "routerd.identity", str(directory)]
    try:
        done = subprocess.run(command, input=secret, text=True, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IdentityError(f"The routers' certificates could not be made: {error}") from error
    if done.returncode != 0:
        raise IdentityError(f"The routers' certificates could not be made: {done.stderr.strip()[-300:]}")
    marked.write_text(mark)


def write_identity(directory: Path, *, secret: str) -> None:
    """Write the authority's certificate, and this router's with its key, readable by this user only."""
    authority, certificate = make_identity(secret)
    for name, text in ((AUTHORITY_FILE, authority), (CERTIFICATE_FILE, certificate)):
        partial = directory / f".{name}.new"
        partial.touch(mode=0o600)
        partial.write_text(text)
        partial.replace(directory / name)


def make_identity(secret: str) -> tuple[str, str]:
    """(certificate of the authority, certificate and key of one router), as PEM."""
    # Only here: all other users of this module need nothing of it.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    number = int.from_bytes(hashlib.sha512(b"routerd peers authority" + secret.encode()).digest(), "big")
    authority_key = ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())
    own_key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "routerd peers")])

    def certify(name: x509.Name, *, key: ec.EllipticCurvePrivateKey, authority: bool) -> str:
        builder = x509.CertificateBuilder(
            issuer_name=issuer,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=_FROM,
            not_valid_after=_UNTIL,
        ).add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    key_text = own_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    own_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "routerd")])
    own = certify(own_name, key=own_key, authority=False)
    return certify(issuer, key=authority_key, authority=True), own + key_text


if __name__ == "__main__":
    write_identity(Path(sys.argv[1]), secret=sys.stdin.read())

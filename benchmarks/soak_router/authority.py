"""Certificate authorities that come and go, each with one certificate for callers by TLS."""

import base64
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST: Final = "score.example.org"


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass
class Authority:
    """One authority; `number` tells them apart."""

    number: int
    _key: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)

    @cached_property
    def pem(self) -> str:
        """Its own certificate."""
        return self._sign(self._name, key=self._key, authority=True)

    @property
    def _name(self) -> x509.Name:
        return _named(f"authority {self.number}")

    def issue(self) -> dict[str, str]:
        """A certificate for HOST and its key, as the data of a Secret."""
        key = _new_key()
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        parts = {"tls.crt": self._sign(_named(HOST), key=key, authority=False).encode(), "tls.key": text}
        return {name: base64.b64encode(part).decode() for name, part in parts.items()}

    def _sign(self, name: x509.Name, *, key: ec.EllipticCurvePrivateKey, authority: bool) -> str:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=90))
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        if not authority:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def trusting(*authorities: Authority) -> ssl.SSLContext:
    """What a caller uses that trusts these and nobody else."""
    return ssl.create_default_context(cadata="".join(authority.pem for authority in authorities))

"""Issuers of tokens: key pairs that sign what a test claims, as JSON Web Tokens."""

import base64
import json
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from routerd.routes import TokenIssuer, TokenKey


def encoded(part: bytes) -> str:
    """Base64 as tokens use it."""
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


@dataclass
class Signer:
    """One key pair of an issuer."""

    kid: str
    algorithm: str = "ES256"
    issuer: str = "https://studio.example.com"

    @cached_property
    def _private(self) -> Any:
        if self.algorithm == "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def pem(self) -> str:
        text: bytes = self._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return text.decode()

    @property
    def key(self) -> TokenKey:
        return TokenKey(kid=self.kid, algorithm="ES256" if self.algorithm == "ES256" else "RS256", pem=self.pem)

    def sign(self, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token for the endpoint `credit` that is valid for a minute, but for what is given; None leaves out."""
        whole = {"iss": self.issuer, "aud": "credit", "exp": int(time.time()) + 60, "sub": "alice"} | claims
        head = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid} | (header or {})
        parts = [{k: v for k, v in part.items() if v is not None} for part in (head, whole)]
        text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        return f"{text}.{encoded(self._signature(text.encode()))}"

    def _signature(self, text: bytes) -> bytes:
        if self.algorithm == "ES256":
            r, s = decode_dss_signature(self._private.sign(text, ec.ECDSA(SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        signature: bytes = self._private.sign(text, padding.PKCS1v15(), SHA256())
        return signature


def trusting(*signers: Signer, audience: str = "credit") -> tuple[TokenIssuer, ...]:
    """The issuers an endpoint trusts: those of these key pairs."""
    names = dict.fromkeys(signer.issuer for signer in signers)
    return tuple(
        TokenIssuer(issuer=name, audience=audience, keys=tuple(s.key for s in signers if s.issuer == name))
        for name in names
    )

"""Reads `spec.auth` of an OnlineEndpoint: who may call. Pure.

It fails closed. A mode that is not understood, a key whose end cannot be read or a token key that is not what it says
is left out and told as a problem; what is left out opens nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal

from routerd.routes import INVALID_SPEC, Problem, TokenIssuer, TokenKey

Mode = Literal["key", "token", "none"]

_KEY_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,63}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
# These enter commands and records of HAProxy: nothing that could end or split one.
_KID: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,128}")
_CLAIM: Final = re.compile(r"[A-Za-z0-9._~:/?#@!$&()*+,=%-]{1,256}")
_LEAST_RSA_BITS: Final = 2048


@dataclass(frozen=True)
class Auth:
    """How callers of an endpoint prove who they are."""

    mode: Mode
    revision: int
    keys: tuple[tuple[str, str], ...] = ()
    key_expiry: tuple[tuple[str, int], ...] = ()
    issuers: tuple[TokenIssuer, ...] = ()
    usable: bool = True  # False: the endpoint must not be routed


def read_auth(raw: Any, *, endpoint: str, problems: list[Problem]) -> Auth:
    """What `spec.auth` of the endpoint of this name says; what is wrong with it is added to `problems`."""
    auth = raw if isinstance(raw, Mapping) else {}
    mode, told = auth.get("mode"), auth.get("keyRevision")
    revision = told if isinstance(told, int) else 0
    if mode == "none":
        return Auth(mode="none", revision=revision)
    if mode == "key":
        keys, expiry = _read_keys(auth.get("keys"), problems=problems)
        return Auth(mode="key", revision=revision, keys=keys, key_expiry=expiry)
    if mode == "token":
        issuers = _read_issuers(auth.get("issuers"), endpoint=endpoint, problems=problems)
        return Auth(mode="token", revision=revision, issuers=issuers)
    problems.append(_invalid(f"spec.auth.mode is {mode!r}: only key, token and none are known."))
    return Auth(mode="key", revision=revision, usable=False)


def _read_keys(raw: Any, *, problems: list[Problem]) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, int], ...]]:
    keys, expiry = [], []
    for item in _items(raw):
        name, digest = str(item.get("name", "")), str(item.get("sha256", ""))
        if not (_DIGEST.fullmatch(digest) and _KEY_NAME.fullmatch(name)):
            problems.append(_invalid(f"spec.auth.keys: {item.get('name')!r} is not a usable key."))
            continue
        if item.get("expires") is not None:
            end = _unix_seconds(item["expires"])
            if end is None:
                problems.append(_invalid(f"spec.auth.keys: {name} expires {item['expires']!r}: write RFC 3339 with Z."))
                continue
            expiry.append((name, end))
        keys.append((name, digest))
    return tuple(keys), tuple(expiry)


def _unix_seconds(text: Any) -> int | None:
    """When an RFC 3339 time is; None for anything else, and where the time zone is missing."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return int(moment.timestamp()) if moment.tzinfo else None


def _read_issuers(raw: Any, *, endpoint: str, problems: list[Problem]) -> tuple[TokenIssuer, ...]:
    issuers: list[TokenIssuer] = []
    kids: set[str] = set()
    for item in _items(raw):
        issuer, audience = str(item.get("issuer", "")), str(item.get("audience") or endpoint)
        if not (_CLAIM.fullmatch(issuer) and _CLAIM.fullmatch(audience)):
            problems.append(
                _invalid(f"spec.auth.issuers: {issuer!r} for {audience!r} cannot be checked by the router.")
            )
            continue
        keys = []
        for raw_key in _items(item.get("keys")):
            try:
                key = _read_token_key(raw_key, kids=kids)
            except ValueError as error:
                problems.append(_invalid(f"spec.auth.issuers[{issuer}].keys: {error}"))
                continue
            kids.add(key.kid)
            keys.append(key)
        issuers.append(TokenIssuer(issuer=issuer, audience=audience, keys=tuple(keys)))
    return tuple(issuers)


def _read_token_key(raw: Mapping[str, Any], *, kids: set[str]) -> TokenKey:
    kid, algorithm = str(raw.get("kid", "")), raw.get("algorithm")
    if not _KID.fullmatch(kid):
        raise ValueError(f"kid {kid!r} is not usable: letters, digits and ._~+/=- are.")
    if kid in kids:
        raise ValueError(f"kid {kid} is there twice: tokens tell by it which key to use.")
    if algorithm not in ("ES256", "RS256"):
        raise ValueError(f"algorithm of {kid} is {algorithm!r}: only ES256 and RS256 are known.")
    return TokenKey(kid=kid, algorithm=algorithm, pem=_public_key(str(raw.get("publicKey", "")), algorithm))


@lru_cache(maxsize=4096)  # the table is built anew at every change, and thousands of endpoints share one key
def _public_key(pem: str, algorithm: str) -> str:
    """The key, written as we would write it; raises ValueError when it is no public key for the algorithm."""
    # Only here: most routers never see a token, and the library takes 10 MB.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"publicKey is no public key in PEM: {error}") from error
    rsa = isinstance(key, RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS
    curve = isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    if not (rsa if algorithm == "RS256" else curve):
        raise ValueError(f"publicKey is not one for {algorithm}: RSA of 2,048 bits or more, or P-256, is needed.")
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _items(raw: Any) -> list[Mapping[str, Any]]:
    """A list's items; what is none, or not a mapping, is an empty item, which nothing accepts."""
    if raw is None:
        return []
    items = raw if isinstance(raw, list) else [raw]
    return [item if isinstance(item, Mapping) else {} for item in items]


def _invalid(message: str) -> Problem:
    return Problem(type="Ready", reason=INVALID_SPEC, message=message)

"""Who is asking: bearer tokens of the cluster.

Two kinds are known: the administrator's (a random word in a file) and those of ServiceAccounts, which
are JSON web tokens signed with the cluster's own key (ES256), bound to the account's UID and, if
asked so, to a pod. A token dies with its account or pod: both are looked up at every request.

A client certificate signed by the cluster's authority proves a user as well: its common name, with its
organizations as groups. Whoever shows nothing is `system:anonymous`; who shows something wrong is refused.
What a user may do is said elsewhere (rbac.py).
"""

import base64
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from clusters.embedded.private_files import write_private
from clusters.embedded.rbac import AUTHENTICATED, MASTERS, User, account_user
from clusters.embedded.resources import PODS, SERVICE_ACCOUNTS, Obj, Resource
from clusters.embedded.tls import key_pem

AUDIENCE: Final = "https://kubernetes.default.svc.cluster.local"
ISSUER: Final = AUDIENCE

Finder = Callable[[Resource, str | None, str], Obj | None]


ADMIN: Final = User("kubernetes-admin", groups=(MASTERS, AUTHENTICATED))
ANONYMOUS: Final = User("system:anonymous", groups=("system:unauthenticated",))


def read_or_make_token(path: Path) -> str:
    """The administrator's token, made with mode 0600 at the first start."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


def read_or_make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key ServiceAccount tokens are signed with."""
    if not path.exists():
        write_private(path, key_pem(ec.generate_private_key(ec.SECP256R1())))
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} does not hold an elliptic-curve key")
    return key


class Authenticator:
    def __init__(
        self,
        *,
        admin_token: str,
        key: ec.EllipticCurvePrivateKey,
        find: Finder,
        clock: Callable[[], datetime],
    ) -> None:
        self._admin = admin_token.encode()
        self._key = key
        self._find = find
        self._clock = clock

    def authenticate(self, authorization: str | None, *, certificate: Mapping[str, Any] | None = None) -> User | None:
        """The user of a verified certificate (as `SSLSocket.getpeercert` gives it) or of an Authorization header.

        None when a token proves nobody; ANONYMOUS when nothing was shown.
        """
        if certificate:
            return user_of_certificate(certificate)
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        return self.user_of(token.strip())

    def user_of(self, token: str, *, audiences: tuple[str, ...] = (AUDIENCE,)) -> User | None:
        if hmac.compare_digest(token.encode(), self._admin):
            return ADMIN
        claims = self._verified(token)
        if claims is None or not set(audiences) & set(claims.get("aud", ())):
            return None
        return self._account(claims.get("kubernetes.io", {}))

    def issue(
        self,
        account: Obj,
        *,
        seconds: int = 3600,
        audiences: tuple[str, ...] = (AUDIENCE,),
        pod: Obj | None = None,
    ) -> tuple[str, datetime]:
        """(token, when it ends) of a ServiceAccount, bound to `pod` when given."""
        now, metadata = self._clock(), account["metadata"]
        end = now + timedelta(seconds=seconds)
        bound: dict[str, Any] = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        if pod is not None:
            bound["pod"] = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        claims = {
            "iss": ISSUER,
            "aud": list(audiences or (AUDIENCE,)),
            "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int(end.timestamp()),
            "jti": secrets.token_hex(16),
            "kubernetes.io": bound,
        }
        return self._signed(claims), end

    def _signed(self, claims: dict[str, Any]) -> str:
        text = ".".join(_encode(json.dumps(part).encode()) for part in ({"alg": "ES256", "typ": "JWT"}, claims))
        r, s = utils.decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return text + "." + _encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    def _verified(self, token: str) -> dict[str, Any] | None:
        try:
            head, body, signature = token.split(".")
            raw = _decode(signature)
            der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
            self._key.public_key().verify(der, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
            claims: dict[str, Any] = json.loads(_decode(body))
        except (ValueError, InvalidSignature):
            return None
        now = self._clock().timestamp()
        return claims if claims.get("nbf", 0) <= now + 1 and now < claims.get("exp", 0) else None

    def _account(self, bound: dict[str, Any]) -> User | None:
        namespace, named = bound.get("namespace", ""), bound.get("serviceaccount", {})
        account = self._find(SERVICE_ACCOUNTS, namespace, named.get("name", ""))
        if account is None or account["metadata"]["uid"] != named.get("uid"):
            return None
        if "pod" in bound:
            pod = self._find(PODS, namespace, bound["pod"]["name"])
            if pod is None or pod["metadata"]["uid"] != bound["pod"]["uid"]:
                return None
        return account_user(namespace, named["name"], uid=named["uid"])


def user_of_certificate(certificate: Mapping[str, Any]) -> User | None:
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    names = [value for key, value in subject if key == "commonName"]
    groups = tuple(value for key, value in subject if key == "organizationName")
    return User(names[0], groups=(*groups, AUTHENTICATED)) if names else None


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

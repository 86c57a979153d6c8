"""Who may do what at the artifact cache.

The upload token (one, from the environment) may do everything. A download token lists digests and is signed with a key
the cache and the studio share (`contract.sign_download_token`), so the cache keeps no list of tokens.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from enum import Enum


class Access(Enum):
    """What the bearer of a token may do with one blob."""

    UNKNOWN = "unknown"  # no token, or none of ours
    OTHER = "other"  # a token of ours, but not for this blob or this action
    ALLOWED = "allowed"


@dataclass(frozen=True)
class TokenKeys:
    """The secrets of one cache; never printed."""

    upload: str = field(repr=False)
    signing: str = field(repr=False)

    def may_change(self, token: str) -> Access:
        """Whether the bearer may upload and delete."""
        if hmac.compare_digest(token.encode(), self.upload.encode()):
            return Access.ALLOWED
        return Access.UNKNOWN if read_download_token(token, signing_key=self.signing) is None else Access.OTHER

    def may_read(self, token: str, *, digest: str) -> Access:
        """Whether the bearer may download this blob."""
        if self.may_change(token) is Access.ALLOWED:
            return Access.ALLOWED
        digests = read_download_token(token, signing_key=self.signing)
        if digests is None:
            return Access.UNKNOWN
        return Access.ALLOWED if digest in digests else Access.OTHER


def read_download_token(token: str, *, signing_key: str) -> frozenset[str] | None:
    """The digests a token allows, or None when its signature is not ours."""
    payload, _, signature = token.partition(".")
    expected = hmac.new(signing_key.encode(), payload.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return frozenset(str(digest) for digest in claims["digests"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None

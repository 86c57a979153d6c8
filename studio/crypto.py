"""A text column whose value is encrypted at rest, with keys apart from SECRET_KEY.

Encryption is Fernet (AES-128-CBC with an HMAC). Several keys may be given, the newest first: it encrypts, all decrypt,
so a key is rotated by adding one in front and saving the rows again.
"""

from functools import cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


class UnreadableSecretError(Exception):
    """A stored secret cannot be decrypted with any of the keys the studio has."""


@cache
def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.ENCRYPTION_KEYS])


class EncryptedTextField(models.TextField):
    """A TextField whose column holds a Fernet token. Cannot be searched; empty stays empty."""

    def get_prep_value(self, value: Any) -> Any:
        text = super().get_prep_value(value)
        return _cipher().encrypt(text.encode()).decode() if text else text

    def from_db_value(self, value: str | None, *_: Any) -> str | None:
        if not value:
            return value
        try:
            return _cipher().decrypt(value.encode()).decode()
        except InvalidToken as error:
            raise UnreadableSecretError(
                f"The stored {self.model.__name__}.{self.name} was encrypted with a key this studio does not have. "
                "Add that key to SLIPWAY_ENCRYPTION_KEYS."
            ) from error

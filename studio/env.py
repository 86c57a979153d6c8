"""Slipway's configuration: read once from the environment, typed, loud.

Every variable begins with SLIPWAY_ (but for DATABASE_URL and REDIS_URL, which platforms set under these names) and is
described in docs/settings.md; a test compares the two. A variable with the prefix that is not known here stops the
program, because a setting that is silently ignored is the worst kind.
"""

import os
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SLIPWAY_"


class UnknownSettingError(Exception):
    """The environment holds a SLIPWAY_ variable that Slipway does not know."""


class Env(BaseSettings):
    """The whole configuration of the studio."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    home: Path = Field(default=Path("var"), description="Folder that holds everything Slipway keeps.")
    host: str = Field(default="127.0.0.1", description="Address the studio listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port of the studio.")
    router_port: int = Field(
        default=8080, ge=1, le=65535, description="Port of the embedded cluster's router, on 127.0.0.1."
    )
    cluster_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port of the embedded cluster's API server; 0 picks a free one once.",
    )
    isolation: Literal["auto", "none"] = Field(
        default="auto",
        description="`none` runs the embedded cluster's containers without namespaces, for machines where those "
        "misbehave.",
    )
    debug: bool = Field(default=False, description="Django's debug pages. Never on a machine others can reach.")
    allowed_hosts: str = Field(
        default="127.0.0.1,localhost,[::1]",
        description="Host names the studio answers to, separated by commas.",
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?$",
        description="Address people use when a proxy stands in front, as `https://slipway.example.org`. With https "
        "cookies are sent over TLS only.",
    )
    proxy_addresses: str = Field(
        default="127.0.0.1",
        description="Addresses of that proxy, separated by commas: whose `X-Forwarded-For` and `X-Forwarded-Proto` "
        "are believed when `SLIPWAY_PUBLIC_URL` is set.",
    )
    secret_key: SecretStr | None = Field(
        default=None, description="Signs sessions. Made once and kept in the home folder when not given."
    )
    encryption_keys: SecretStr | None = Field(
        default=None,
        description="Fernet keys for stored credentials, separated by commas, the newest first. Made once and "
        "kept in the home folder when not given.",
    )
    database_url: str | None = Field(
        default=None,
        alias="DATABASE_URL",
        description="PostgreSQL to use instead of the SQLite file in the home folder.",
    )
    redis_url: str | None = Field(
        default=None,
        alias="REDIS_URL",
        description="Redis for the task queue (database 0) and live updates (database 1); without it both run in the "
        "studio's own process.",
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @property
    def embedded(self) -> bool:
        """Whether queue and live layer run inside the studio's process."""
        return self.redis_url is None

    @property
    def proxies(self) -> str:
        """Addresses whose forwarding headers are believed; "" when nobody stands in front."""
        return self.proxy_addresses if self.public_url else ""


def refuse_unknown(environ: dict[str, str]) -> None:
    """Raise UnknownSettingError for a SLIPWAY_ variable that no field reads."""
    known = {PREFIX + name.upper() for name in Env.model_fields}
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known and not _for_tests(name))
    if unknown:
        raise UnknownSettingError(
            f"{unknown[0]} is not a setting of Slipway. docs/settings.md lists them all; unset it and start again."
        )


def _for_tests(name: str) -> bool:
    return name.startswith(PREFIX + "TEST_")


@cache
def read_env() -> Env:
    """The configuration of this process, read at the first call."""
    refuse_unknown(dict(os.environ))
    return Env()

"""Where this machine's pip gets packages from, for uv, which does not read pip's configuration (pure reading).

Order, later wins: /etc/pip.conf, the user's pip.conf, $PIP_CONFIG_FILE, $PIP_... variables.
"""

import configparser
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_KEYS: Final = ("index-url", "extra-index-url", "find-links", "cert")


@dataclass(frozen=True)
class PipSettings:
    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    cert: str = ""

    def uv_arguments(self) -> list[str]:
        arguments = ["--index-url", self.index_url] if self.index_url else []
        for url in self.extra_index_urls:
            arguments += ["--extra-index-url", url]
        if self.extra_index_urls:  # pip takes the best version of all indexes; uv only the first index's unless told
            arguments += ["--index-strategy", "unsafe-best-match"]
        for place in self.find_links:
            arguments += ["--find-links", place]
        return arguments

    def directories(self) -> list[str]:
        """Local directories the settings name; of an index ``.../simple`` the one above, where its files are."""
        return list(dict.fromkeys(_local_directories((self.index_url, *self.extra_index_urls, *self.find_links))))


def _local_directories(places: tuple[str, ...]) -> Iterator[str]:
    for place in places:
        parts = urlsplit(place)
        if place and parts.scheme in {"", "file"} and Path(parts.path).is_dir():
            path = Path(parts.path)
            yield str(path.parent if path.name == "simple" else path)


def configuration_files(environ: Mapping[str, str]) -> list[Path]:
    """Those that are there, in the order they are read."""
    home = Path(environ.get("HOME") or "/")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    candidates = [Path("/etc/pip.conf"), home / ".pip/pip.conf", config / "pip/pip.conf"]
    if environ.get("PIP_CONFIG_FILE") and environ["PIP_CONFIG_FILE"] != os.devnull:
        candidates.append(Path(environ["PIP_CONFIG_FILE"]))
    return [path for path in candidates if path.is_file()]


def read_pip_settings(environ: Mapping[str, str]) -> PipSettings:
    values: dict[str, str] = {}
    for path in configuration_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path)
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # pip itself would complain; the build goes on with what can be read
        for section in ("global", "install"):
            if parser.has_section(section):
                values |= {key: value for key, value in parser.items(section) if key in _KEYS}
    for key in _KEYS:
        variable = "PIP_" + key.upper().replace("-", "_")
        if environ.get(variable):
            values[key] = environ[variable]
    return PipSettings(
        index_url=values.get("index-url", ""),
        extra_index_urls=tuple(values.get("extra-index-url", "").split()),
        find_links=tuple(values.get("find-links", "").split()),
        cert=values.get("cert", ""),
    )

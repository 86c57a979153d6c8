"""Images of the embedded cluster: a reference names a record, a record names directories.

    DIR/images/<name>-<digest>/image.json   written by a build pod (build.py), last and by a rename, so a
                                            record that can be read is complete
    --image REF=FILE | DIRECTORY | self     given by whoever starts the cluster, and trusted

A record:

    {"ref": "slipway.local/environment:1f0c", "path": ["bin"], "env": {"K": "V"}, "workingDir": "/",
     "dirs": ["/srv/project/routerd"], "passEnv": ["PIP_*"], "passFiles": ["/etc/pip.conf"]}

``path`` comes first on the container's PATH. Relative paths are inside the record's own directory. ``dirs``,
``passEnv`` and ``passFiles`` show the container more of the machine, so only trusted records may have them; a
record from a build pod reaches nothing but DIR/images, the system directories and trusted interpreters.
In a container the directory of a built image is /var/lib/slipway/images/<name>, as it was in its build pod.
"""

import fnmatch
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from clusters.embedded.kubelet.root import Bind
from clusters.embedded.pipsettings import configuration_files, read_pip_settings

IMAGES_PATH: Final = "/var/lib/slipway/images"  # where pods see DIR/images
# What package clients on this machine go by: a build needs it, no other container gets it.
PACKAGE_CLIENT_ENV: Final = (
    "PIP_*",
    "UV_*",
    "SSL_CERT_*",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
SELF: Final = "self"  # --image REF=self: this very interpreter and this package
_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib64")


class ImageMissingError(Exception):
    """No record for this reference yet."""


class ImageBrokenError(Exception):
    """There is a record, but it cannot be used."""


@dataclass(frozen=True)
class Image:
    """What a container gets from its image; paths as on the machine, ``binds`` say how a container sees them."""

    ref: str
    path: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    working_dir: str = ""
    binds: tuple[Bind, ...] = ()
    pass_env: tuple[str, ...] = ()

    def environment(self, *, isolated: bool, machine: Mapping[str, str]) -> dict[str, str]:
        """The image's variables, PATH first; ``machine`` is the environment ``passEnv`` picks from."""
        path = [self._seen(entry) for entry in self.path] if isolated else list(self.path)
        passed = {
            name: value
            for name, value in machine.items()
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.pass_env)
        }
        standard = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": ":".join([*path, standard]), "LANG": "C.UTF-8"} | passed | self.env

    def _seen(self, path: str) -> str:
        for bind in self.binds:
            if _is_below(path, bind.source):
                return bind.target + path[len(bind.source) :]
        return path


class ImageStore:
    """All images of one cluster. Nothing is remembered: a record that appears is found at the next look."""

    def __init__(self, directory: Path, *, given: Mapping[str, str] | None = None) -> None:
        self.directory = directory.absolute()
        self._given = dict(given or {})

    def find(self, ref: str) -> Image:
        """Raises ImageMissingError, ImageBrokenError."""
        if ref in self._given:
            return self._load_given(ref, self._given[ref])
        home = self.directory / directory_name(ref)
        record = _read_record(home / "image.json", ref=ref)
        for key in ("dirs", "passEnv", "passFiles"):
            if record.get(key):
                raise ImageBrokenError(f"the record of image {ref} may not have {key!r}: it was made in the cluster")
        return self._make(ref, record, home=home, trusted=False)

    def _load_given(self, ref: str, source: str) -> Image:
        if source == SELF:
            return self._make(ref, own_record(), home=Path("/"), trusted=True)
        path = Path(source).resolve()
        if path.is_dir() and not (path / "image.json").exists():
            if not (path / "bin").is_dir():
                raise ImageBrokenError(f"image {ref}: {path} holds neither image.json nor bin/")
            return self._make(ref, {"path": ["bin"]}, home=path, trusted=True)
        file = path / "image.json" if path.is_dir() else path
        return self._make(ref, _read_record(file, ref=ref), home=file.parent, trusted=True)

    def _make(self, ref: str, record: Mapping[str, Any], *, home: Path, trusted: bool) -> Image:
        paths = tuple(str(home / entry) for entry in record.get("path", ()))
        binds = [] if trusted else [Bind(str(home), f"{IMAGES_PATH}/{home.name}")]
        for path in paths:
            if not trusted and not _is_below(os.path.normpath(path), str(home)):
                raise ImageBrokenError(f"image {ref}: {path} is outside its own directory")
            if trusted:
                binds += _binds_of(str(Path(path).parent if (Path(path).parent / "pyvenv.cfg").exists() else path))
            binds += self._interpreter(Path(path).parent, ref=ref, trusted=trusted)
        for entry in (*record.get("dirs", ()), *record.get("passFiles", ())):
            if Path(entry).exists():
                binds += _binds_of(str(home / entry))
        return Image(
            ref=ref,
            path=paths,
            env={str(key): str(value) for key, value in (record.get("env") or {}).items()},
            working_dir=str(record.get("workingDir") or ""),
            binds=tuple(dict.fromkeys(binds)),
            pass_env=tuple(record.get("passEnv", ())),
        )

    def _interpreter(self, venv: Path, *, ref: str, trusted: bool) -> list[Bind]:
        """The installation a virtual environment borrows its interpreter from."""
        prefix = _base_prefix(venv)
        if prefix is None or any(_is_below(prefix, system) for system in _SYSTEM):
            return []
        if _is_below(prefix, IMAGES_PATH):
            source = str(self.directory) + prefix[len(IMAGES_PATH) :]
            return [Bind(os.path.realpath(source), prefix)]
        if trusted or _is_below(prefix, str(self.directory)) or prefix in self._trusted_prefixes():
            return _binds_of(prefix)
        raise ImageBrokenError(f"image {ref} needs the interpreter in {prefix}, which no trusted image has")

    def _trusted_prefixes(self) -> set[str]:
        prefixes = {sys.base_prefix, os.path.realpath(sys.base_prefix)}
        for source in self._given.values():
            if source != SELF and (prefix := _base_prefix(Path(source))):
                prefixes.add(prefix)
        return prefixes


def own_record() -> dict[str, Any]:
    """The record of an image made of this interpreter and this package: what runs the cluster can run in it."""
    project = Path(__file__).resolve().parents[2]
    files = [str(path) for path in configuration_files(os.environ)]
    variables = {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    if files:
        variables["PIP_CONFIG_FILE"] = files[-1]
    packages = [str(project / name) for name in ("clusters", "routerd") if (project / name).is_dir()]
    return {
        "path": [str(Path(sys.prefix, "bin"))],
        "env": variables,
        "dirs": [*packages, *read_pip_settings(os.environ).directories()],
        "passEnv": list(PACKAGE_CLIENT_ENV),
        "passFiles": files,
    }


def directory_name(ref: str) -> str:
    """The directory below DIR/images for a reference: readable, and never the same for two."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", ref).strip("-")[-60:]
    return f"{readable}-{hashlib.sha256(ref.encode()).hexdigest()[:12]}"


def _read_record(file: Path, *, ref: str) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text())
    except FileNotFoundError:
        raise ImageMissingError(f'failed to resolve reference "{ref}": not found') from None
    except (OSError, ValueError) as error:
        raise ImageBrokenError(f"the record {file} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise ImageBrokenError(f"the record {file} is not an object")
    return record


def _base_prefix(venv: Path) -> str | None:
    try:
        lines = (venv / "pyvenv.cfg").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "home":
            return os.path.normpath(Path(value.strip()).parent)
    return None


def _binds_of(path: str) -> list[Bind]:
    if any(_is_below(path, system) for system in _SYSTEM):
        return []
    return [Bind(os.path.realpath(path), path)]


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")

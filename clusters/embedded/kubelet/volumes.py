"""A pod's volumes as directories: made before its containers start, refreshed when their sources change.

    DIR/pods/<uid>/volumes/<name>/      emptyDir: the directory itself; gone with the pod
    .../..data -> ..<n>, key -> ..data/key     configMap, secret, projected, downwardAPI: all files change at once
    DIR/volumes/<pv>                    a PersistentVolume of the class `local`
    DIR/images                          the one hostPath there is: /var/lib/slipway/images

Every other kind of volume is refused with a sentence (FailedMount), and the pod waits.
"""

import base64
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clusters.embedded.images import IMAGES_PATH
from clusters.embedded.kubelet.environment import (
    ConfigError,
    PodFacts,
    Sources,
    field_value,
    resource_value,
)
from clusters.embedded.resources import Obj

_DEFAULT_MODE: Final = 0o644
File = tuple[bytes, int]  # content, mode


class VolumeError(Exception):
    """A volume cannot be set up now; the message is for the FailedMount event."""


@dataclass(frozen=True)
class VolumeHost:
    """What volumes need of the node."""

    directory: Path  # DIR/pods/<uid>/volumes
    images: Path
    sources: Sources
    claimed: Callable[[str, str], Path | None]  # (namespace, claim) -> directory of its volume
    token: Callable[[Obj, str, int], str]  # (pod, audience, seconds) -> ServiceAccount token
    ca_certificate: Callable[[], str]


def set_up(volume: Obj, *, facts: PodFacts, host: VolumeHost) -> Path:
    """Make one volume and return the directory (or file) to show. Raises VolumeError."""
    home: Path = host.directory / str(volume["name"])
    if "emptyDir" in volume:
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o777)  # any user of any of the pod's containers
        return home
    if claim := volume.get("persistentVolumeClaim"):
        return _claimed_directory(claim, facts=facts, host=host)
    if path := volume.get("hostPath"):
        return _images_directory(path.get("path", ""), host=host)
    if _is_written(volume):
        refresh(volume, facts=facts, host=host)
        return home
    kinds = ", ".join(key for key in volume if key != "name") or "none"
    raise VolumeError(f'volume "{volume["name"]}": the embedded cluster has no volumes of kind {kinds}')


def refresh(volume: Obj, *, facts: PodFacts, host: VolumeHost) -> None:
    """Write the files of a configMap, secret, projected or downwardAPI volume. Raises VolumeError."""
    if not _is_written(volume):
        return
    try:
        write_files(host.directory / volume["name"], files=_files_of(volume, facts=facts, host=host))
    except ConfigError as error:
        raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error


def remove(directory: Path) -> None:
    """Remove everything below, without following links out of it."""
    shutil.rmtree(directory, ignore_errors=True)


def write_files(directory: Path, *, files: dict[str, File]) -> None:
    """Show exactly these files, all changing at once: a link is turned to a complete new directory."""
    directory.mkdir(parents=True, exist_ok=True)
    link = directory / "..data"
    old = str(link.readlink()) if link.is_symlink() else ""
    if old and _current_files(directory / old) == files:
        return
    number = int(old.lstrip(".") or 0) + 1
    fresh = directory / f"..{number}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for name, (content, mode) in files.items():
        target = fresh / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
    draft = directory / "..data.new"
    draft.unlink(missing_ok=True)
    draft.symlink_to(fresh.name)
    draft.replace(link)
    _link_names(directory, {name.split("/")[0] for name in files})
    if old:
        shutil.rmtree(directory / old, ignore_errors=True)


def _current_files(directory: Path) -> dict[str, File]:
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mode & 0o7777)
        for path in directory.rglob("*")
        if path.is_file()
    }


def _link_names(directory: Path, names: set[str]) -> None:
    for name in names:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()


def _is_written(volume: Obj) -> bool:
    return any(kind in volume for kind in ("configMap", "secret", "projected", "downwardAPI"))


def _files_of(volume: Obj, *, facts: PodFacts, host: VolumeHost) -> dict[str, File]:
    if "projected" in volume:
        projected = volume["projected"]
        mode = int(projected.get("defaultMode") or _DEFAULT_MODE)
        files: dict[str, File] = {}
        for source in projected.get("sources") or ():
            files |= _source_files(source, mode=mode, facts=facts, host=host)
        return files
    kind = next(kind for kind in ("configMap", "secret", "downwardAPI") if kind in volume)
    body = dict(volume[kind])
    if kind == "secret":
        body["name"] = body.get("secretName") or body.get("name")
    mode = int(body.get("defaultMode") or _DEFAULT_MODE)
    return _source_files({kind: body}, mode=mode, facts=facts, host=host)


def _source_files(source: Obj, *, mode: int, facts: PodFacts, host: VolumeHost) -> dict[str, File]:
    if wanted := source.get("serviceAccountToken"):
        audience, seconds = wanted.get("audience") or "", int(wanted.get("expirationSeconds") or 3600)
        return {wanted["path"]: (host.token(facts.pod, audience, seconds).encode(), mode)}
    if "downwardAPI" in source:
        items = (source["downwardAPI"] or {}).get("items") or ()
        return {item["path"]: (_downward(item, facts=facts), int(item.get("mode") or mode)) for item in items}
    if body := source.get("configMap"):
        if body["name"] == "kube-root-ca.crt":
            return {"ca.crt": (host.ca_certificate().encode(), mode)}
        found = host.sources.config_map(facts.namespace, body["name"])
        return _keyed_files(found, body, kind="configmap", mode=mode)
    if body := source.get("secret"):
        return _keyed_files(host.sources.secret(facts.namespace, body["name"]), body, kind="secret", mode=mode)
    raise ConfigError(f"no volume source of kind {', '.join(source)} on the embedded cluster")


def _downward(item: Obj, *, facts: PodFacts) -> bytes:
    if reference := item.get("fieldRef"):
        return field_value(reference.get("fieldPath", ""), facts=facts).encode()
    containers = facts.pod["spec"]["containers"]
    return resource_value(item["resourceFieldRef"], container=containers[0], facts=facts).encode()


def _keyed_files(found: Obj | None, body: Obj, *, kind: str, mode: int) -> dict[str, File]:
    if found is None:
        if body.get("optional"):
            return {}
        raise ConfigError(f'{kind} "{body["name"]}" not found')
    data = _contents(found, kind=kind)
    if not body.get("items"):
        return {key: (value, mode) for key, value in data.items()}
    files: dict[str, File] = {}
    for item in body["items"]:
        if item["key"] in data:
            files[_safe_path(item["path"])] = (data[item["key"]], int(item.get("mode") or mode))
        elif not body.get("optional"):
            raise ConfigError(f"references non-existent {kind} key: {item['key']}")
    return files


def _contents(found: Obj, *, kind: str) -> dict[str, bytes]:
    if kind == "secret":
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
    return {key: str(value).encode() for key, value in (found.get("data") or {}).items()} | binary


def _safe_path(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ConfigError(f"invalid path {path!r} in a volume's items")
    return path


def _claimed_directory(claim: Obj, *, facts: PodFacts, host: VolumeHost) -> Path:
    directory = host.claimed(facts.namespace, claim["claimName"])
    if directory is None:
        raise VolumeError(f'persistentvolumeclaim "{claim["claimName"]}" not found or not bound')
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o777)
    return directory


def _images_directory(path: str, *, host: VolumeHost) -> Path:
    if path.rstrip("/") != IMAGES_PATH:
        raise VolumeError(f"hostPath {path!r} is refused: the embedded cluster lends only {IMAGES_PATH}")
    host.images.mkdir(parents=True, exist_ok=True)
    return host.images


def mount_source(mount: Obj, *, volume: Path, variables: dict[str, str], expand: Callable[..., str]) -> Path:
    """What of a volume one container sees: all of it, or a ``subPath`` (made when missing). Raises VolumeError."""
    part: Any = mount.get("subPath") or ""
    if mount.get("subPathExpr"):
        part = expand(mount["subPathExpr"], variables)
    if not part:
        return volume
    if part.startswith("/") or ".." in part.split("/"):
        raise VolumeError(f"subPath {part!r} must stay inside the volume")
    target = volume / part
    if not os.path.realpath(target).startswith(os.path.realpath(volume)):
        raise VolumeError(f"subPath {part!r} leads out of the volume")
    if not target.exists():
        target.mkdir(parents=True)
        target.chmod(0o777)
    return Path(os.path.realpath(target))

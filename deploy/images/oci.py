"""An OCI archive of one layer: the image format's files as a tar, written with the standard library.

    oci-layout, index.json ──> manifest ──> configuration
                                       └──> layer (the root filesystem, gzip)

`manifest.json` beside them is what `docker load` of older releases looks for. Everything is sorted, owned and dated by
us, so that the same root filesystem always gives the same digests.
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class Image:
    """What an image says of itself."""

    name: str
    version: str
    user: str  # "uid:gid"
    entrypoint: Sequence[str]
    environment: Mapping[str, str]
    ports: Sequence[int]
    created: int  # unix seconds, also of every file in it

    @property
    def labels(self) -> dict[str, str]:
        """The usual annotations."""
        prefix = "org.opencontainers.image"
        return {f"{prefix}.title": self.name, f"{prefix}.version": self.version, f"{prefix}.licenses": "Apache-2.0"}


def write_archive(target: Path, *, image: Image, rootfs: Path, owned_by_user: Sequence[str]) -> Path:
    """Write `rootfs` as an image; `owned_by_user` are the folders its user may write to. The path."""
    layer = target.with_suffix(".layer")
    try:
        plain_digest = write_layer(layer, image=image, rootfs=rootfs, owned_by_user=owned_by_user)
        config = _json(describe_config(image, layer_digest=plain_digest))
        layer_file = _Blob(layer.read_bytes())
        config_file = _Blob(config)
        manifest = _Blob(_json(describe_manifest(image, config=config_file, layer=layer_file)))
    finally:
        layer.unlink(missing_ok=True)
    blobs = {blob.path: blob.data for blob in (config_file, layer_file, manifest)}
    index = {"schemaVersion": 2, "manifests": [manifest.describe(_MANIFEST) | _tag(image)]}
    docker = [{"Config": config_file.path, "RepoTags": [f"{image.name}:{image.version}"], "Layers": [layer_file.path]}]
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index), **blobs}
    _write_tar(target, files=files | {"manifest.json": _json(docker)}, time=image.created)
    return target


def write_layer(target: Path, *, image: Image, rootfs: Path, owned_by_user: Sequence[str]) -> str:
    """Write the root filesystem as a compressed tar; the digest of the tar before compression."""
    owner = tuple(int(number) for number in image.user.split(":"))
    with target.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed:
        counted = _Hashing(packed)
        with tarfile.open(fileobj=counted, mode="w|", format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]
            for path in _sorted(rootfs):
                member = tar.gettarinfo(path, arcname=str(path.relative_to(rootfs)))
                writable = member.name.startswith(tuple(owned_by_user))
                member.uid, member.gid = owner if writable else (0, 0)
                member.uname = member.gname = ""
                member.mtime = image.created
                with path.open("rb") if member.isreg() else io.BytesIO() as content:
                    tar.addfile(member, content if member.isreg() else None)
    return counted.digest


def describe_config(image: Image, *, layer_digest: str) -> dict[str, Any]:
    """The image's configuration: how it is run."""
    created = datetime.fromtimestamp(image.created, UTC).isoformat()
    return {
        "created": created,
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": image.user,
            "Entrypoint": list(image.entrypoint),
            "Env": [f"{name}={value}" for name, value in image.environment.items()],
            "ExposedPorts": {f"{port}/tcp": {} for port in image.ports},
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": image.labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        "history": [{"created": created, "created_by": "make image"}],
    }


def describe_manifest(image: Image, *, config: "_Blob", layer: "_Blob") -> dict[str, Any]:
    """What belongs to the image."""
    return {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": config.describe(_CONFIG),
        "layers": [layer.describe(_LAYER)],
        "annotations": image.labels,
    }


def _tag(image: Image) -> dict[str, Any]:
    platform = {"architecture": "amd64", "os": "linux"}
    return {"platform": platform, "annotations": {"org.opencontainers.image.ref.name": image.version}}


class _Blob:
    """Bytes under their own digest."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._hex = hashlib.sha256(data).hexdigest()

    @property
    def path(self) -> str:
        return f"blobs/sha256/{self._hex}"

    def describe(self, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": f"sha256:{self._hex}", "size": len(self.data)}


class _Hashing:
    """A file that remembers the digest of what is written to it."""

    def __init__(self, inner: gzip.GzipFile) -> None:
        self._inner, self._sum = inner, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._sum.update(data)
        return self._inner.write(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._sum.hexdigest()}"


def _sorted(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _sorted(path)


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _write_tar(target: Path, *, files: Mapping[str, bytes], time: int) -> None:
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(data), time, 0o644
            content: IO[bytes] = io.BytesIO(data)
            tar.addfile(member, content)

"""PersistentVolumeClaims of the class `local`: each gets a directory below DIR/volumes, bound at once.

The directory goes with the claim (reclaim policy Delete), once no pod uses it any more.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from clusters.embedded.errors import AlreadyExists
from clusters.embedded.registry import Registry
from clusters.embedded.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    Obj,
    Resource,
)

Key = tuple[str, str]  # namespace and claim; ("", volume) for a volume
CLASS: Final = "local"
PROVISIONER: Final = "slipway.dev/local"
_DEFAULT: Final = "storageclass.kubernetes.io/is-default-class"
_LOOK_AGAIN_SECONDS: Final = 1.0


class LocalVolumeController:
    name = "local-volume-controller"
    watched: tuple[Resource, ...] = (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES)

    def __init__(self, registry: Registry, *, data: Path) -> None:
        self._registry = registry
        self._data = data

    def keys(self, resource: Resource, obj: Obj, *, deleted: bool) -> Iterable[Key]:
        if resource == PERSISTENT_VOLUMES:
            return [("", obj["metadata"]["name"])]
        volume = (obj.get("spec") or {}).get("volumeName")
        keys = [(obj["metadata"]["namespace"], obj["metadata"]["name"])]
        return [*keys, ("", volume)] if deleted and volume else keys

    def reconcile(self, key: Key) -> float | None:
        if not key[0]:
            return self._reclaim(key[1])
        claim = self._registry.find(PERSISTENT_VOLUME_CLAIMS, *key)
        if claim is None or "deletionTimestamp" in claim["metadata"]:
            return None
        if claim["spec"].get("storageClassName", CLASS) == CLASS:
            self._bind(claim)
        return None

    def _bind(self, claim: Obj) -> None:
        name = claim["spec"].get("volumeName") or f"pvc-{claim['metadata']['uid']}"
        if self._registry.find(PERSISTENT_VOLUMES, None, name) is None:
            volume_directory(self._data, name).mkdir(parents=True, exist_ok=True)
            self._registry.create(PERSISTENT_VOLUMES, _volume_for(claim, name=name))
            volume = self._registry.get(PERSISTENT_VOLUMES, None, name)
            self._registry.update_status(PERSISTENT_VOLUMES, {**volume, "status": {"phase": "Bound"}})
            message = f"Successfully provisioned volume {name}"
            self._registry.record_event(
                claim, type="Normal", reason="ProvisioningSucceeded", message=message, component=PROVISIONER
            )
        if claim["spec"].get("volumeName") != name:
            spec = {**claim["spec"], "volumeName": name, "storageClassName": CLASS}
            claim = self._registry.update(PERSISTENT_VOLUME_CLAIMS, {**claim, "spec": spec})
        capacity = (claim["spec"].get("resources") or {}).get("requests") or {}
        status = {"phase": "Bound", "accessModes": claim["spec"].get("accessModes") or [], "capacity": capacity}
        if claim.get("status") != status:
            self._registry.update_status(PERSISTENT_VOLUME_CLAIMS, {**claim, "status": status})

    def _reclaim(self, name: str) -> float | None:
        volume = self._registry.find(PERSISTENT_VOLUMES, None, name)
        if volume is None:
            if name.startswith("pvc-"):
                shutil.rmtree(volume_directory(self._data, name), ignore_errors=True)
            return None
        reference = volume["spec"].get("claimRef") or {}
        claim = self._registry.find(PERSISTENT_VOLUME_CLAIMS, reference.get("namespace"), reference.get("name", ""))
        if claim is not None and claim["metadata"]["uid"] == reference.get("uid"):
            return None
        if self._in_use(reference):
            return _LOOK_AGAIN_SECONDS
        if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            self._registry.delete(PERSISTENT_VOLUMES, None, name)
        return None

    def _in_use(self, reference: Obj) -> bool:
        return any(
            (volume.get("persistentVolumeClaim") or {}).get("claimName") == reference.get("name")
            for pod in self._registry.list(PODS, reference.get("namespace"))
            for volume in pod["spec"].get("volumes") or ()
        )


def volume_directory(data: Path, name: str) -> Path:
    return data / "volumes" / name


def claimed_directory(registry: Registry, data: Path, *, namespace: str, claim: str) -> Path | None:
    """Where the volume of a bound claim lies; None while there is none."""
    found = registry.find(PERSISTENT_VOLUME_CLAIMS, namespace, claim)
    if found is None or (found.get("status") or {}).get("phase") != "Bound":
        return None
    return volume_directory(data, found["spec"]["volumeName"])


def ensure_storage_class(registry: Registry) -> None:
    """The class `local`, the default of this cluster."""
    body = {
        "metadata": {"name": CLASS, "annotations": {_DEFAULT: "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }
    if registry.find(STORAGE_CLASSES, None, CLASS) is None:
        try:
            registry.create(STORAGE_CLASSES, body)
        except AlreadyExists:
            return


def _volume_for(claim: Obj, *, name: str) -> Obj:
    metadata = claim["metadata"]
    reference = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    term = {"key": "kubernetes.io/hostname", "operator": "Exists"}  # all nodes are on one machine
    return {
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": (claim["spec"].get("resources") or {}).get("requests") or {},
            "accessModes": claim["spec"].get("accessModes") or [],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
            "volumeMode": "Filesystem",
            "claimRef": reference,
            "local": {"path": f"/var/lib/slipway/volumes/{name}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
        },
    }

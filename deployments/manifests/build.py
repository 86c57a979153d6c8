"""The pod that builds an environment on the embedded cluster: a venv in the cluster's image store, by its hash.

It is a pod like any other: scheduled, its log followed, gone afterwards. The requirements come in a ConfigMap. Only the
embedded cluster knows the hostPath it writes to, and that one path only. A hostPath is more than a namespace of ours
lets its pods have, so builds are in one of their own (contract.BUILDS_NAMESPACE), where no model ever runs.
"""

from dataclasses import dataclass
from typing import Final

from deployments.manifests.labels import Obj
from routerd import contract

BUILD_CONTAINER: Final = "build"
BUILD_APP: Final = "environment-build"
BUILD_LABEL: Final = "slipway.dev/build"  # the first 32 digits of the hash
BUILD_FOR: Final = "slipway.dev/build-for"  # the namespace of the compute target that asked for it
_IMAGES: Final = "/var/lib/slipway/images"
_DEFINITION: Final = "/etc/slipway/definition"


@dataclass(frozen=True)
class BuildShape:
    """What is built, and where."""

    studio: str
    target: str  # namespace of the compute target that asks
    hash: str
    requirements: str
    python_version: str
    attempt: str  # tells one try from the next: pods of the same name cannot follow each other at once


def image_reference(definition_hash: str) -> str:
    """The image of a definition on the embedded cluster."""
    return f"{contract.EMBEDDED_ENVIRONMENT_REPOSITORY}:{definition_hash}"


def build_name(definition_hash: str, *, attempt: str) -> str:
    """Name of the build pod and its ConfigMap."""
    return f"build-{definition_hash[:16]}-{attempt}"


def build_pod(shape: BuildShape) -> list[Obj]:
    """The ConfigMap and the pod, in the order to apply."""
    metadata = {
        "name": build_name(shape.hash, attempt=shape.attempt),
        "namespace": contract.BUILDS_NAMESPACE,
        "labels": {
            contract.MANAGED_BY: contract.MANAGED_BY_SLIPWAY,
            contract.APP_NAME: BUILD_APP,
            contract.STUDIO: shape.studio,
            BUILD_LABEL: shape.hash[:32],
            BUILD_FOR: shape.target,
        },
    }
    command = ["python", "-m", "clusters.embedded.build", "--ref", image_reference(shape.hash)]
    command += ["--requirements", f"{_DEFINITION}/requirements.txt", "--python", shape.python_version]
    container = {
        "name": BUILD_CONTAINER,
        "image": contract.EMBEDDED_BUILDER_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "definition", "mountPath": _DEFINITION, "readOnly": True},
            {"name": "images", "mountPath": _IMAGES},
        ],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 5,
            "containers": [container],
            "volumes": [
                {"name": "definition", "configMap": {"name": metadata["name"]}},
                {"name": "images", "hostPath": {"path": _IMAGES, "type": "Directory"}},
            ],
        },
    }
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"requirements.txt": shape.requirements},
    }
    return [config, pod]

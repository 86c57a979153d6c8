"""What one start of a container is made of: image, environment, mounts and command, out of its pod and node."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from clusters.embedded.images import Image
from clusters.embedded.kubelet import recipe, volumes
from clusters.embedded.kubelet.environment import ConfigError, container_command, container_environment, expand
from clusters.embedded.resources import Obj

if TYPE_CHECKING:
    from clusters.embedded.kubelet.container import ContainerWorker


def make_spec(worker: "ContainerWorker", *, image: Image, attempt: Path) -> Obj:
    """What the shim is to run. Raises ConfigError, VolumeError."""
    container, pod, node = worker.container, worker.pod, worker.node
    real = recipe.base_variables(image, isolation=node.isolation, attempt=attempt, environ=node.environ)
    variables = container_environment(
        container,
        facts=pod.facts,
        sources=node.sources,
        base=real | _cluster_variables(worker),
    )
    order = recipe.Recipe(
        container=container,
        pod=pod.pod,
        image=image,
        variables=variables,
        command=container_command(container, variables=variables),
        mounts=tuple(_mounts(worker, variables=variables)),
        attempt=attempt,
        hosts=pod.directory / "etc",
        hidden=(node.data,),
        services=pod.services,
        cgroups=node.cgroups_for(pod.uid, container),
        real=real,
    )
    return recipe.shim_spec(order, isolation=node.isolation)


def _cluster_variables(worker: "ContainerWorker") -> dict[str, str]:
    host, port = worker.node.api_address()
    variables = {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": str(port),
        "HOSTNAME": worker.pod.pod["metadata"]["name"],
    }
    for mount in worker.container.get("volumeMounts") or ():
        if worker.pod.volumes.get(mount["name"]) == worker.node.images.directory:
            variables["SLIPWAY_IMAGES"] = mount["mountPath"]
    return variables


def _mounts(worker: "ContainerWorker", *, variables: dict[str, str]) -> Iterator[recipe.Mount]:
    for mount in worker.container.get("volumeMounts") or ():
        volume = worker.pod.volumes.get(mount["name"])
        if volume is None:
            raise ConfigError(f'volume "{mount["name"]}" is not in the pod')
        source = volumes.mount_source(mount, volume=volume, variables=variables, expand=expand)
        yield recipe.Mount(source, mount["mountPath"], bool(mount.get("readOnly")))


def rewriter_of(worker: "ContainerWorker") -> recipe.Rewriter:
    """For probe commands in mode none."""
    mounts = [
        recipe.Mount(worker.pod.volumes[mount["name"]], mount["mountPath"], False)
        for mount in worker.container.get("volumeMounts") or ()
        if mount["name"] in worker.pod.volumes
    ]
    return recipe.Rewriter.of(
        worker.container,
        mounts=mounts,
        attempt=worker.attempt,
        services=worker.pod.services,
        isolation=worker.node.isolation,
    )

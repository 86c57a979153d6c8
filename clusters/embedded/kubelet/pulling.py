"""How a container gets its image: at once when the node has it, else waited for as a kubelet waits for a registry."""

import asyncio
from typing import TYPE_CHECKING, Final

from clusters.embedded.images import Image, ImageBrokenError, ImageMissingError
from clusters.embedded.kubelet.status import Waiting

if TYPE_CHECKING:
    from clusters.embedded.kubelet.container import ContainerWorker

_LOOK_SECONDS: Final = 1.0


async def find_image(worker: "ContainerWorker") -> Image:
    """The container's image, once it is there."""
    ref, node, event = worker.container["image"], worker.node, worker.pod.event
    delay = node.back_off.base
    while True:
        try:
            image = node.images.find(ref)
        except (ImageMissingError, ImageBrokenError) as error:
            await _await_image(worker, ref=ref, why=str(error), delay=delay)
            delay = min(delay * 2, node.back_off.cap)
            continue
        if seconds := node.pull_seconds():
            event(reason="Pulling", message=f'Pulling image "{ref}"')
            await asyncio.sleep(seconds)
            event(reason="Pulled", message=f'Successfully pulled image "{ref}" in {duration(seconds)}')
        else:
            event(reason="Pulled", message=f'Container image "{ref}" already present on machine')
        return image


async def _await_image(worker: "ContainerWorker", *, ref: str, why: str, delay: float) -> None:
    """One failed pull and the pause after it, shortened when the image comes."""
    event, never = worker.pod.event, worker.container.get("imagePullPolicy") == "Never"
    if never:
        reason, message = "ErrImageNeverPull", f'Container image "{ref}" is not present with pull policy of Never'
    else:
        event(reason="Pulling", message=f'Pulling image "{ref}"')
        reason, message = "ErrImagePull", f'Failed to pull image "{ref}": {why}'
    worker.wait(Waiting(reason, message))
    event(reason="Failed", message=message, warning=True)
    event(reason="Failed", message=f"Error: {reason}", warning=True)
    loop = asyncio.get_running_loop()
    deadline, said = loop.time() + delay, never
    while loop.time() < deadline:
        await asyncio.sleep(min(_LOOK_SECONDS, max(0.0, deadline - loop.time())))
        if _is_there(worker, ref=ref):
            return
        if not said:
            said = True
            worker.wait(Waiting("ImagePullBackOff", f'Back-off pulling image "{ref}": {why}'))
            event(reason="BackOff", message=f'Back-off pulling image "{ref}"')
            event(reason="Failed", message="Error: ImagePullBackOff", warning=True)


def _is_there(worker: "ContainerWorker", *, ref: str) -> bool:
    try:
        worker.node.images.find(ref)
    except (ImageMissingError, ImageBrokenError):
        return False
    return True


def duration(seconds: float) -> str:
    """As Go prints it: 10s, 2m40s, 5m0s."""
    if seconds < 60:
        return f"{seconds:g}s"
    return f"{int(seconds // 60)}m{int(seconds % 60)}s"

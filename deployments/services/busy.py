"""One change at a time: what is being rolled out or deleted cannot be changed again until that ends."""

from deployments.models import Deployment, Endpoint
from studio.errors import SlipwayError
from studio.models import UNFINISHED, Operation


class BusyError(SlipwayError):
    """Something is being done to it already."""

    status = 409


def unfinished_of(kind: str, pk: int) -> Operation | None:
    """The Operation under way on ("deployment", 12), if there is one."""
    about = Operation.objects.filter(subject_kind=kind, subject_id=str(pk), state__in=UNFINISHED)
    return about.order_by("created_at").first()


def refuse_busy_deployment(deployment: Deployment) -> None:
    """Raise BusyError when the deployment is being rolled out or deleted."""
    if running := unfinished_of("deployment", deployment.pk):
        raise BusyError(f"{deployment} is being changed: {running.title}. Wait until that ends, or cancel it.")
    refuse_deleting(deployment.endpoint)


def refuse_deleting(endpoint: Endpoint) -> None:
    """Raise BusyError when the endpoint is being deleted."""
    if endpoint.deleting:
        raise BusyError(f"{endpoint} is being deleted. Choose another endpoint, or create it again afterwards.")

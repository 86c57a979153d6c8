"""The Test tab: one request to a model through a router, without a key, in the same queue as everybody's."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from clusters import router_admin
from clusters.kube.errors import KubeError
from clusters.router_admin import router_pods
from deployments.models import Deployment, Endpoint
from studio.actor import Actor
from studio.errors import SlipwayError
from studio.services.audit import record
from studio.services.operations import Subject

LARGEST_BODY = 10 * 1024 * 1024


@dataclass(frozen=True)
class InvokeResult:
    """What came back. `deployment` is the one that answered, "" when the router refused."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    milliseconds: float
    deployment: str

    @property
    def text(self) -> str:
        """The body as text; bytes that are none become replacement characters."""
        return self.body.decode(errors="replace")


class InvokeError(SlipwayError):
    """The request could not be made at all."""

    status = 502


def invoke(
    endpoint: Endpoint,
    *,
    deployment: Deployment | None = None,
    method: str = "POST",
    path: str = "/score",
    headers: Mapping[str, str] | None = None,
    body: bytes | str = b"",
    actor: Actor,
) -> InvokeResult:
    """Call `endpoint` (or just `deployment` of it) at `path`, which begins with a slash.

    The model's own errors are results, not exceptions. Raises InvokeError when no router can be asked.
    """
    data = body.encode() if isinstance(body, str) else body
    if len(data) > LARGEST_BODY:
        raise InvokeError("The body is larger than 10 MB. Call the endpoint itself, with a key.")
    try:
        pods = [pod for pod in router_pods(endpoint.target.cluster) if pod.ready]
        if not pods:
            raise InvokeError(
                f"No router of cluster {endpoint.target.cluster} is ready. An operator sees why on its page."
            )
        answer = router_admin.invoke(
            pods[0],
            namespace=endpoint.target.namespace,
            endpoint=endpoint.name,
            method=method,
            path=path,
            headers=headers,
            body_base64=base64.b64encode(data).decode(),
            deployment=deployment.name if deployment else "",
        )
    except KubeError as error:
        raise InvokeError(f"{endpoint} could not be called. {error}") from error
    record(
        actor,
        workspace=endpoint.workspace,
        action="endpoint.test",
        subject=Subject("endpoint", str(endpoint.pk), endpoint.name),
        after={"method": method, "path": path, "status": answer["status"], "deployment": answer.get("deployment")},
    )
    encoded = answer.get("body_base64")
    return InvokeResult(
        status=int(answer["status"]),
        headers=answer.get("headers") or {},
        body=base64.b64decode(encoded) if encoded is not None else str(answer.get("body") or "").encode(),
        milliseconds=float(answer.get("milliseconds") or 0),
        deployment=str(answer.get("deployment") or ""),
    )

"""The head of an endpoint's page: the truth, the scoring URI, the facts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from deployments.models import AuthMode, Deployment, Endpoint
from deployments.regions.endpoints import LOAD_SECONDS, behind_of, endpoint_facts
from deployments.regions.samples import read_recent
from deployments.regions.truth import Truth, tell_endpoint
from routerd.contract import ENDPOINT_PATH
from studio.models import UNFINISHED, Operation

TABS = (
    ("deployments", "Deployments"),
    ("logs", "Logs"),
    ("test", "Test"),
    ("consume", "Consume"),
    ("metrics", "Metrics"),
    ("history", "History"),
)


@dataclass(frozen=True, slots=True)
class RunningOperation:
    """Something under way on the endpoint or one of its deployments."""

    id: str
    title: str
    summary: str
    state: str


@dataclass(frozen=True, slots=True)
class EndpointHead:
    """What every tab of an endpoint begins with."""

    id: int
    name: str
    truth: Truth
    uri: str  # "" while its cluster has no router
    cluster: str
    target: str
    namespace: str
    auth: str
    description: str
    owner: str
    made_at: datetime
    deployments: int
    deleting: bool
    operations: tuple[RunningOperation, ...]


def scoring_uri(endpoint: Endpoint) -> str:
    """Where callers send requests; "" while the router of its cluster has no address."""
    address = endpoint.target.cluster.router_address.rstrip("/")
    return f"{address}{ENDPOINT_PATH}{endpoint.name}/score" if address else ""


def endpoint_head(endpoint: Endpoint, *, now: datetime) -> EndpointHead:
    """The head. Three queries."""
    deployments: Sequence[Deployment] = list(endpoint.deployments.order_by("created_at", "pk"))
    serving = [each.pk for each in deployments if endpoint.traffic.get(each.name)]
    recent = read_recent(serving, now=now, seconds=LOAD_SECONDS) if serving else {}
    truth = tell_endpoint(endpoint_facts(endpoint, behind=behind_of(deployments), recent=recent))
    return EndpointHead(
        id=endpoint.pk,
        name=endpoint.name,
        truth=truth,
        uri=scoring_uri(endpoint),
        cluster=endpoint.target.cluster.name,
        target=endpoint.target.name,
        namespace=endpoint.target.namespace,
        auth="Key" if endpoint.auth_mode == AuthMode.KEY else "Nothing",
        description=endpoint.description,
        owner=endpoint.created_by.get_username() if endpoint.created_by else "",
        made_at=endpoint.created_at,
        deployments=len(deployments),
        deleting=endpoint.deleting,
        operations=running_operations(endpoint, deployments=deployments),
    )


def running_operations(endpoint: Endpoint, *, deployments: Sequence[Deployment]) -> tuple[RunningOperation, ...]:
    """What is under way here. One query."""
    mine = Operation.objects.filter(workspace_id=endpoint.workspace_id, state__in=UNFINISHED)
    about = mine.filter(subject_kind="endpoint", subject_id=str(endpoint.pk)) | mine.filter(
        subject_kind="deployment", subject_id__in=[str(each.pk) for each in deployments]
    )
    return tuple(
        RunningOperation(id=str(each.pk), title=each.title, summary=each.summary, state=each.state)
        for each in about.order_by("created_at")
    )

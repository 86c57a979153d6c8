"""What should lie in a cluster, read from the rows at one moment."""

from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import F, Max

from clusters.identity import studio_uuid
from clusters.install.settings import RouterSettings
from clusters.install.settings import from_json as router_settings
from clusters.models import Cluster, InstanceType
from clusters.queries import find_size
from clusters.sizes import Size
from deployments.manifests import EndpointShape, Placement, RoutedDeployment, image_reference
from deployments.models import Deployment, DeploymentRevision, Endpoint, Environment, Model
from deployments.specs import DeploymentSpec, parse_deployment, parse_reference
from routerd import contract
from routerd.contract import sign_download_token


@dataclass(frozen=True)
class WantedRevision:
    """One revision of a deployment, ready to be turned into objects."""

    number: int
    spec: DeploymentSpec
    environment: Environment
    model: Model | None


def wanted_revision(deployment: Deployment, *, number: int) -> WantedRevision:
    """A revision with the rows its spec names. Raises DeploymentRevision.DoesNotExist."""
    spec = parse_deployment(DeploymentRevision.objects.get(deployment=deployment, number=number).spec)
    workspace = deployment.endpoint.workspace_id
    name, version = parse_reference(spec.environment) or ("", 0)
    environment = Environment.objects.get(workspace=workspace, name=name, version=version)
    model = None
    if spec.model:
        name, version = parse_reference(spec.model) or ("", 0)
        model = Model.objects.select_related("artifact").get(workspace=workspace, name=name, version=version)
    return WantedRevision(number=number, spec=spec, environment=environment, model=model)


def placement_of(deployment: Deployment, *, wanted: WantedRevision) -> Placement:
    """Where and from what a revision runs."""
    target = deployment.endpoint.target
    cluster = target.cluster
    size = _size_of(cluster, name=wanted.spec.instance_type)
    digests = [wanted.spec.code_digest, *([wanted.model.artifact_id] if wanted.model else [])]
    return Placement(
        studio=studio_uuid(),
        namespace=target.namespace,
        revision=wanted.number,
        image=wanted.environment.image or image_reference(wanted.environment.definition_hash),
        slipway_image=slipway_image(cluster),
        download_token=sign_download_token(digests=digests, signing_key=cluster.artifacts_signing_key),
        model_digest=wanted.model.artifact_id if wanted.model else "",
        requests=size.requests,
        limits=size.limits,
        node_selector=size.node_selector,
        tolerations=tuple(size.tolerations),
    )


def slipway_image(cluster: Cluster) -> str:
    """The image that carries routerd on this cluster."""
    settings: RouterSettings = router_settings(cluster.router_settings)
    return settings.image or contract.EMBEDDED_SLIPWAY_IMAGE


def _size_of(cluster: Cluster, *, name: str) -> Size:
    size = find_size(cluster, name=name)
    if size is None:
        raise InstanceType.DoesNotExist(f"There is no instance type {name} on {cluster} any more.")
    return size


def wanted_endpoint(endpoint: Endpoint) -> tuple[EndpointShape, list[RoutedDeployment]]:
    """The endpoint as routers should know it: only deployments whose objects lie in the cluster."""
    endpoint = Endpoint.objects.select_related("target").prefetch_related("keys").get(pk=endpoint.pk)
    shape = EndpointShape(
        studio=studio_uuid(),
        namespace=endpoint.target.namespace,
        name=endpoint.name,
        auth_mode=endpoint.auth_mode,
        key_revision=endpoint.key_revision,
        key_hashes={key.name: key.sha256 for key in endpoint.keys.all()},
        traffic=endpoint.traffic,
        mirror=endpoint.mirror,
    )
    routed = []
    for deployment in Deployment.objects.filter(endpoint=endpoint, applied_revision__gt=0):
        revision = DeploymentRevision.objects.get(deployment=deployment, number=deployment.applied_revision)
        routed.append(RoutedDeployment(spec=parse_deployment(revision.spec)))
    return shape, routed


def good_before_applied(deployments: Collection[Deployment]) -> dict[int, int]:
    """By id, the newest revision that worked before the one that lies in the cluster. One query."""
    rows = DeploymentRevision.objects.filter(
        deployment__in=deployments, succeeded=True, number__lt=F("deployment__applied_revision")
    )
    return dict(rows.order_by().values_list("deployment_id").annotate(newest=Max("number")))


def last_good_revision(deployment: Deployment, *, before: int) -> int:
    """The newest revision before `before` that succeeded; 0 when there is none."""
    good = DeploymentRevision.objects.filter(deployment=deployment, number__lt=before, succeeded=True)
    return good.order_by("-number").values_list("number", flat=True).first() or 0

"""Who may see and change clusters, compute targets and instance types: every check of them is here.

Each returns the object or raises: Http404 for strangers and for what is not there, PermissionDenied (403) for members
whose role is too small. Readers see everything here but credentials; operators change.
"""

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest

from clusters.models import Cluster, ComputeTarget, InstanceType
from studio.access import workspace_for
from studio.models import Role


def cluster_for(request: HttpRequest, workspace: str, name: str, *, role: Role = Role.READER) -> Cluster:
    """A cluster of a workspace, with the workspace."""
    owner = workspace_for(request, workspace, role=role)
    found = Cluster.objects.select_related("workspace").filter(workspace=owner, name=name).first()
    if found is None:
        raise Http404(f"There is no cluster {name} in {workspace}.")
    return found


def target_for(request: HttpRequest, workspace: str, name: str, *, role: Role = Role.READER) -> ComputeTarget:
    """A compute target of a workspace, with its cluster."""
    owner = workspace_for(request, workspace, role=role)
    found = ComputeTarget.objects.select_related("cluster", "workspace").filter(workspace=owner, name=name).first()
    if found is None:
        raise Http404(f"There is no compute target {name} in {workspace}.")
    return found


def instance_type_for(
    request: HttpRequest, workspace: str, cluster: str, name: str, *, role: Role = Role.READER
) -> InstanceType:
    """An instance type of one of the workspace's clusters."""
    place = cluster_for(request, workspace, cluster, role=role)
    found = InstanceType.objects.select_related("cluster__workspace").filter(cluster=place, name=name).first()
    if found is None:
        raise Http404(f"There is no instance type {name} on {cluster}.")
    return found


def may_hear_cluster(user: User, rest: str) -> bool:
    """cluster-<id>: members of its workspace."""
    return Cluster.objects.filter(pk=int(rest), workspace__memberships__user=user).exists()

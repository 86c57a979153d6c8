"""Which namespaces of a physical cluster the router serves: those of every workspace that has the cluster attached."""

from clusters.models import ComputeTarget


def namespaces_of(uid: str) -> list[str]:
    """Namespaces of all compute targets on the cluster with this UID, sorted."""
    return sorted(set(ComputeTarget.objects.filter(cluster__uid=uid).values_list("namespace", flat=True)))

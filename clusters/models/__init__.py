"""Where things run: clusters, compute targets, instance types."""

from clusters.models.cluster import Cluster, ClusterState, ComputeTarget, InstanceType, RouterState

__all__ = ["Cluster", "ClusterState", "ComputeTarget", "InstanceType", "RouterState"]

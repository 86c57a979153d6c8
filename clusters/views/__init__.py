"""Pages of clusters, compute targets and instance types."""

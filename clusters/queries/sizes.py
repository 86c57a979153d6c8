"""The sizes a cluster offers: its instance types, and the built-in one unless it was replaced."""

from clusters.models import Cluster, InstanceType
from clusters.sizes import DEFAULT_NAME, Size, default_size


def size_of(row: InstanceType) -> Size:
    """The Size of a row."""
    return Size(
        name=row.name,
        requests=row.requests,
        limits=row.limits,
        node_selector=row.node_selector,
        tolerations=tuple(row.tolerations),
    )


def sizes_of(cluster: Cluster) -> tuple[Size, ...]:
    """Every size of a cluster, by name; one query."""
    rows = [size_of(row) for row in cluster.instance_types.all()]
    if all(size.name != DEFAULT_NAME for size in rows):
        rows.append(default_size(cluster.runtime))
    return tuple(sorted(rows, key=lambda size: size.name))


def find_size(cluster: Cluster, *, name: str) -> Size | None:
    """The size of that name; "" means the default one. None when there is none."""
    return next((size for size in sizes_of(cluster) if size.name == (name or DEFAULT_NAME)), None)

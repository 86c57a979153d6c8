"""Reading rows of this app for others."""

from clusters.queries.sizes import find_size, size_of, sizes_of
from clusters.queries.targets import namespaces_of

__all__ = ["find_size", "namespaces_of", "size_of", "sizes_of"]

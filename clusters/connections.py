"""One Kube per attached cluster, kept as long as its connection stays the same.

A Kube holds open TLS connections, so it is worth keeping. When the kubeconfig of a cluster changes, a new one is made;
the old one is left to those who still read from it and ends with them.
"""

import threading

from clusters.kube.client import Kube
from clusters.kube.connection import Connection
from clusters.models import Cluster

_lock = threading.Lock()
_kept: dict[int, tuple[str, Kube]] = {}


def kube_for(cluster: Cluster) -> Kube:
    """The way to a cluster's API server. Thread-safe; does not connect by itself."""
    with _lock:
        kept = _kept.get(cluster.pk)
        if kept and kept[0] == cluster.connection:
            return kept[1]
        kube = Kube(Connection.from_json(cluster.connection))
        _kept[cluster.pk] = (cluster.connection, kube)
        return kube


def forget(cluster_id: int) -> None:
    """Close the way to a cluster that was detached."""
    with _lock:
        kept = _kept.pop(cluster_id, None)
    if kept:
        kept[1].close()

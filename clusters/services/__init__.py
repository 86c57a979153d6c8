"""What people and programs may ask of clusters. Each checks, writes the rows and starts what takes time."""

from clusters.services.attach import attach_cluster, check_cluster, detach_cluster
from clusters.services.instance_types import create_instance_type, delete_instance_type, update_instance_type
from clusters.services.router import install_router, uninstall_router
from clusters.services.targets import create_target, delete_target

__all__ = [
    "attach_cluster",
    "check_cluster",
    "create_instance_type",
    "create_target",
    "delete_instance_type",
    "delete_target",
    "detach_cluster",
    "install_router",
    "uninstall_router",
    "update_instance_type",
]

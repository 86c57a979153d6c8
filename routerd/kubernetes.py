"""The router's connection to the API server: one lightkube client, and the resources it reads.

Objects are read as plain dictionaries (lightkube's generic resources): the router copes with any field
being absent, and pays nothing for those it does not look at.
"""

from typing import Any, Final

import httpx2
from lightkube import KubeConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User
from lightkube.core.async_client import AsyncClient
from lightkube.generic_resource import create_namespaced_resource

from routerd import contract
from routerd.settings import Settings, SettingsError

OnlineEndpoint: Final[Any] = create_namespaced_resource(
    contract.GROUP, contract.VERSION, "OnlineEndpoint", "onlineendpoints"
)
EndpointSlice: Final[Any] = create_namespaced_resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
Secret: Final[Any] = create_namespaced_resource("", "v1", "Secret", "secrets")
ConfigMap: Final[Any] = create_namespaced_resource("", "v1", "ConfigMap", "configmaps")


def connect(settings: Settings) -> AsyncClient | None:
    """The client for the API server the settings name; None when they name none.

    Raises SettingsError when what they name cannot be used.
    """
    if settings.kubeconfig is not None:
        config = KubeConfig.from_file(settings.kubeconfig)
    elif settings.in_cluster:
        config = KubeConfig.from_service_account(settings.service_account_dir)
    else:
        return None
    single = config.get()
    if single is None:
        raise SettingsError(f"{settings.kubeconfig} names no current context")
    return AsyncClient(
        config=single,
        field_manager=contract.ROUTER_FIELD_MANAGER,
        trust_env=False,
        transport=_transport(single),
    )


def _transport(config: SingleConfig) -> httpx2.AsyncHTTPTransport:
    """Connections without a limit: two watches per namespace hold one each, and the default is 100 in all."""
    verify = verify_cluster(config.cluster, config.user or User(), config.abs_file, trust_env=False)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
    return httpx2.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)

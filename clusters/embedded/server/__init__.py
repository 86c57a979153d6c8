"""The API server: HTTP in front of the registry. `build_app` and `serve` are what others call."""

from clusters.embedded.server.app import Server, build_app, serve
from clusters.embedded.server.context import PodAccess

__all__ = ["PodAccess", "Server", "build_app", "serve"]

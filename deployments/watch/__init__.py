"""Seeing what is so: the cluster's objects, their logs and the routers' figures, written down by one recorder."""

from deployments.watch.run import run_watcher

__all__ = ["run_watcher"]

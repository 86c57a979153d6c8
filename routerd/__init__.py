"""The daemon that runs in every attached cluster: routes requests, scales models, says why."""

__version__ = "0.1.0"

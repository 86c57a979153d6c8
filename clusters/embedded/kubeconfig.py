"""The kubeconfig of the cluster's administrator."""

import base64
from pathlib import Path

import yaml

from clusters.embedded.private_files import write_private
from clusters.embedded.resources import Obj


def write_kubeconfig(path: Path, *, url: str, token: str, authority: str) -> None:
    """Readable by its owner only, and never half there."""
    write_private(path, yaml.safe_dump(kubeconfig(url, token=token, authority=authority), sort_keys=False))


def kubeconfig(url: str, *, token: str, authority: str) -> Obj:
    """What kubectl and every client library read."""
    data = base64.b64encode(authority.encode()).decode()
    name = "slipway-embedded"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority-data": data}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }

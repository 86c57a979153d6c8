"""Names of Services for containers: /etc/hosts stands in for a cluster's DNS (pure, but for the writing)."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from clusters.embedded.resources import Obj

_HEAD = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def service_names(services: Iterable[Obj]) -> dict[str, str]:
    """``<service>.<namespace>.svc`` and ``.svc.cluster.local`` -> ClusterIP; headless ones have none."""
    names: dict[str, str] = {}
    for service in services:
        address = service["spec"].get("clusterIP")
        if address and address != "None":
            name = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
            names[name] = names[f"{name}.cluster.local"] = address
    return names


def hosts_text(services: Iterable[Obj], *, namespace: str, pod_ip: str, hostname: str) -> str:
    """A pod's hosts file, with the short names of its own namespace."""
    lines = [f"{pod_ip}\t{hostname}\n"]
    for service in services:
        address = service["spec"].get("clusterIP")
        if not address or address == "None":
            continue
        name, home = service["metadata"]["name"], service["metadata"]["namespace"]
        names = [f"{name}.{home}.svc.cluster.local", f"{name}.{home}.svc", f"{name}.{home}"]
        lines.append("\t".join([address, *names, *([name] if home == namespace else [])]) + "\n")
    return _HEAD + "".join(lines)


def write_hosts(directory: Path, text: str, *, known: Mapping[Path, str]) -> None:
    """Replace the file at once; containers see it through a bind of the directory."""
    if known.get(directory) == text:
        return
    directory.mkdir(parents=True, exist_ok=True)
    draft = directory / "hosts.new"
    draft.write_text(text)
    draft.replace(directory / "hosts")

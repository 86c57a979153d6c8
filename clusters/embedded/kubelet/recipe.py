"""From a container's spec to what the shim runs, in both modes of isolation (pure but for making directories).

*namespaces*: volumes are bound at their real mountPath and Service names are in /etc/hosts; nothing is rewritten.
*none*: there is no own root, so mountPath prefixes and ``<service>.<namespace>.svc`` names are replaced in the
command, its arguments, environment values, the working directory and probe commands by the real host path and
the ClusterIP.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from clusters.embedded.images import Image
from clusters.embedded.kubelet.environment import ConfigError
from clusters.embedded.kubelet.node import Isolation
from clusters.embedded.kubelet.root import Bind
from clusters.embedded.kubelet.shortpaths import short_path
from clusters.embedded.resources import Obj

TERMINATION_LOG: Final = "/dev/termination-log"


@dataclass(frozen=True)
class Mount:
    """A volume, or a part of it, as one container wants it."""

    source: Path
    path: str
    readonly: bool


@dataclass(frozen=True)
class Recipe:
    """All that is known just before a container is started."""

    container: Obj
    pod: Obj
    image: Image
    variables: Mapping[str, str]
    command: list[str]
    mounts: tuple[Mount, ...]
    attempt: Path
    hosts: Path
    hidden: tuple[Path, ...]  # directories of the cluster's own that no container may see
    services: Mapping[str, str]  # host name -> ClusterIP, for mode none
    cgroups: tuple[Path, ...] = ()
    real: Mapping[str, str] = field(default_factory=dict)  # variables that name real places already (base_variables)


@dataclass(frozen=True)
class Identity:
    user: int
    group: int
    supplementary: tuple[int, ...]


def identity_of(container: Obj, *, pod: Obj) -> Identity:
    """Numeric user and groups. Raises ConfigError when runAsNonRoot is broken."""
    merged: dict[str, Any] = {**(pod["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}
    user = int(merged.get("runAsUser") or 0)
    if merged.get("runAsNonRoot") and user == 0:
        detail = f'(pod: "{pod["metadata"]["name"]}_{pod["metadata"]["namespace"]}({pod["metadata"]["uid"]})"'
        told = f"{detail}, container: {container['name']})"
        if merged.get("runAsUser") == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {told}")
        raise ConfigError(f"container has runAsNonRoot and image will run as root {told}")
    groups = [int(group) for group in merged.get("supplementalGroups") or ()]
    if merged.get("fsGroup") is not None:
        groups.append(int(merged["fsGroup"]))
    return Identity(user, int(merged.get("runAsGroup") or 0), tuple(groups))


def shim_spec(recipe: Recipe, *, isolation: Isolation) -> dict[str, Any]:
    """The content of ``spec.json``. Raises ConfigError."""
    if not recipe.command:
        raise ConfigError(f"no command specified: image {recipe.image.ref} has none of its own, set command")
    identity = identity_of(recipe.container, pod=recipe.pod)
    rewrite = Rewriter.of(
        recipe.container,
        mounts=recipe.mounts,
        attempt=recipe.attempt,
        services=recipe.services,
        isolation=isolation,
    )
    security = recipe.container.get("securityContext") or {}
    given = recipe.container.get("workingDir")
    working_dir = rewrite(given) if given else recipe.image.working_dir
    return {
        "argv": [rewrite(word) for word in recipe.command],
        "env": {
            key: value if recipe.real.get(key) == value else rewrite(value) for key, value in recipe.variables.items()
        },
        "cwd": working_dir or ("/" if isolation.namespaces else str(recipe.attempt / "tmp")),
        "user": identity.user,
        "group": identity.group,
        "supplementary_groups": list(identity.supplementary),
        "change_user": isolation.change_user,
        "no_new_privileges": security.get("allowPrivilegeEscalation") is False or not isolation.namespaces,
        "namespaces": isolation.namespaces,
        "user_namespace": isolation.user_namespace,
        "own_pids": isolation.own_pids,
        "cgroups": [str(path) for path in recipe.cgroups],
        "root": _root(recipe, isolation=isolation) if isolation.namespaces else None,
    }


def base_variables(image: Image, *, isolation: Isolation, attempt: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What a container has before its own ``env``: never the cluster's own environment."""
    variables = image.environment(isolated=isolation.namespaces, machine=environ)
    temporary = "/tmp" if isolation.namespaces else str(attempt / "tmp")  # noqa: S108 - the container's own
    variables.setdefault("HOME", temporary)
    if not isolation.namespaces:
        variables["TMPDIR"] = temporary
    return variables


def prepare_attempt(attempt: Path) -> None:
    """The directories a start needs."""
    for name in ("root", "tmp"):
        (attempt / name).mkdir(parents=True, exist_ok=True)
    (attempt / "tmp").chmod(0o1777)
    (attempt / "termination-log").touch()
    (attempt / "termination-log").chmod(0o666)


def _root(recipe: Recipe, *, isolation: Isolation) -> dict[str, Any]:
    security = recipe.container.get("securityContext") or {}
    termination = recipe.container.get("terminationMessagePath") or TERMINATION_LOG
    binds = [
        Bind(str(recipe.attempt / "tmp"), "/tmp", readonly=False),  # noqa: S108 - the container's own
        *recipe.image.binds,
        Bind(str(recipe.attempt / "termination-log"), termination, readonly=False),
        *(Bind(os.path.realpath(m.source), os.path.normpath(m.path), readonly=m.readonly) for m in recipe.mounts),
    ]
    return {
        "directory": str(recipe.attempt / "root"),
        "hosts": str(recipe.hosts),
        "hostname": str(recipe.pod["spec"].get("hostname") or recipe.pod["metadata"]["name"]),
        "own_proc": isolation.own_pids,
        "readonly": bool(security.get("readOnlyRootFilesystem")),
        "masks": [str(path) for path in recipe.hidden],
        "binds": [bind._asdict() for bind in binds],
    }


class Rewriter:
    """Replaces paths and host names in text, for mode none; in mode namespaces it changes nothing."""

    def __init__(self, *, paths: Mapping[str, str], names: Mapping[str, str]) -> None:
        self._replacements = {**names, **paths}
        alternatives = [_any_of(paths, before=r"[\w./-]"), _any_of(names, before=r"[\w.-]")]
        patterns = [pattern for pattern in alternatives if pattern]
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    @classmethod
    def of(
        cls,
        container: Obj,
        *,
        mounts: Iterable[Mount],
        attempt: Path,
        services: Mapping[str, str],
        isolation: Isolation,
    ) -> "Rewriter":
        if isolation.namespaces:
            return cls(paths={}, names={})
        termination = container.get("terminationMessagePath") or TERMINATION_LOG
        paths = {os.path.normpath(mount.path): short_path(mount.source) for mount in mounts}
        paths[termination] = str(attempt / "termination-log")
        return cls(paths=paths, names=services)

    def __call__(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._replacements[match[0]], text)


def _any_of(texts: Mapping[str, str], *, before: str) -> str:
    """A pattern for any of these as a whole, the longest first; not in the middle of a longer path or name."""
    if not texts:
        return ""
    choice = "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))
    return rf"(?<!{before})(?:{choice})(?![\w-])"

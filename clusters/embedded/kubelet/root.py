"""The container's own view of the machine: a root of its own, made of binds, inside a mount namespace.

    tmpfs  /                       made new for each start, gone with the namespace
    ro     /usr /lib /bin ...      the machine's, so that interpreters and shared libraries work
    ro     image directories       where they are on the machine, or under /var/lib/slipway/images
    rw     /tmp                    a directory of this start, on disk
    bind   volumes                 at their mountPath
    link   /etc/hosts              to a directory bind, so that the kubelet can replace the file at once

The steps are run after pivot_root with the old root still at /.machine: so mount targets are resolved inside
the new root, and a link planted in a volume cannot lead a mount out of it. Afterwards the old root is detached.
Nothing of the machine's /etc, /home, /root, /var or of the cluster's own data is to be seen.
Standard library only, see linux.py; no dataclasses, which take a third of the time the shim needs to start.
"""

import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from clusters.embedded.kubelet import linux

_OLD_ROOT: Final = "/.machine"
_SYSTEM_DIRECTORIES: Final = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC_DIRECTORIES: Final = ("ssl", "pki", "ca-certificates", "alternatives", "fonts", "ld.so.conf.d")
_ETC_FILES: Final = (
    "ld.so.cache",
    "ld.so.conf",
    "resolv.conf",
    "nsswitch.conf",
    "host.conf",
    "gai.conf",
    "protocols",
    "services",
    "mime.types",
    "localtime",
    "timezone",
    "os-release",
)
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_USERS: Final = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
_GROUP: Final = "root:x:0:\nnogroup:x:65534:\n"


class Bind(NamedTuple):
    """One directory or file of the machine (a real path, no links) shown in the container."""

    source: str
    target: str
    readonly: bool = True


class Root(NamedTuple):
    """What to build: ``directory`` is an empty directory to mount on, ``hosts`` one that holds a hosts file."""

    directory: str
    hosts: str
    hostname: str
    own_proc: bool = True  # a new /proc needs a pid namespace
    readonly: bool = False
    binds: tuple[Bind, ...] = ()
    masks: tuple[str, ...] = ()  # directories a bind may bring along, to be shown empty

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Root":
        binds = tuple(Bind(**entry) for entry in value["binds"])
        return cls(**(value | {"binds": binds, "masks": tuple(value["masks"])}))


def enter(root: Root) -> None:
    """Build the root and make it this process's ``/``. The caller is alone in its mount namespace."""
    linux.mount(None, target="/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", target=root.directory, kind="tmpfs", flags=linux.MS_NODEV, data="mode=755")
    old = Path(root.directory + _OLD_ROOT)
    old.mkdir()
    linux.pivot_root(root.directory, put_old=str(old))
    os.chdir("/")
    os.umask(0o022)
    for name in _SYSTEM_DIRECTORIES:
        _show_system_directory(name)
    _make_devices()
    _make_etc()
    _mount_proc(root)
    for name in ("run", "var", "home", "root", "mnt", "srv"):
        Path("/", name).mkdir(exist_ok=True)
    Path("/var/run").symlink_to("/run")
    bind(Bind(source=root.hosts, target="/run/kubelet"))
    # Shorter paths first: /data before /data/inner.
    for entry in sorted(root.binds, key=lambda item: item.target.count("/")):
        bind(entry)
    for path in root.masks:
        if Path(path).is_dir():
            linux.mount("tmpfs", target=path, kind="tmpfs", flags=linux.MS_RDONLY)
    linux.detach(_OLD_ROOT)
    Path(_OLD_ROOT).rmdir()
    if root.readonly:
        linux.mount(None, target="/", flags=linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)


def bind(entry: Bind) -> None:
    """Show ``entry.source`` at ``entry.target``, making the place for it."""
    source, target = Path(_OLD_ROOT + entry.source), Path(entry.target)
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    linux.mount(str(source), target=str(target), flags=linux.MS_BIND | linux.MS_REC)
    if entry.readonly:
        linux.make_readonly(str(target))


def _show_system_directory(name: str) -> None:
    old = Path(_OLD_ROOT, name)
    if old.is_symlink():
        Path("/", name).symlink_to(old.readlink())
    elif old.is_dir():
        bind(Bind(source=f"/{name}", target=f"/{name}"))


def _make_devices() -> None:
    Path("/dev").mkdir()
    for name in _DEVICES:
        if Path(_OLD_ROOT, "dev", name).exists():
            bind(Bind(source=f"/dev/{name}", target=f"/dev/{name}", readonly=False))
    Path("/dev/shm").mkdir()  # noqa: S108 - this is the container's own
    linux.mount("tmpfs", target="/dev/shm", kind="tmpfs", flags=linux.MS_NODEV, data="mode=1777")  # noqa: S108
    for name, target in {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}.items():
        Path("/dev", name).symlink_to(f"/proc/self/fd{target}")


def _make_etc() -> None:
    Path("/etc").mkdir()
    for name in _ETC_DIRECTORIES:
        if Path(_OLD_ROOT, "etc", name).is_dir():
            bind(Bind(source=f"/etc/{name}", target=f"/etc/{name}"))
    for name in _ETC_FILES:
        _copy_etc_file(name)
    Path("/etc/passwd").write_text(_USERS)
    Path("/etc/group").write_text(_GROUP)
    Path("/etc/hosts").symlink_to("/run/kubelet/hosts")


def _copy_etc_file(name: str) -> None:
    old = Path(_OLD_ROOT, "etc", name)
    try:
        if old.is_symlink() and str(old.readlink()).startswith("/"):
            old = Path(_OLD_ROOT + str(old.readlink()))
        Path("/etc", name).write_bytes(old.read_bytes())
    except OSError:
        return  # not on this machine, or not for this user: the container does without


def _mount_proc(root: Root) -> None:
    Path("/proc").mkdir()
    if root.own_proc:
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("proc", target="/proc", kind="proc", flags=flags)
    else:
        bind(Bind(source="/proc", target="/proc", readonly=False))
    bind(Bind(source="/sys", target="/sys"))

"""The way into a container: what the shim's fork does before its exec, and a command run beside it later.

Standard library only, see linux.py.
"""

import contextlib
import os
import resource
import signal
from pathlib import Path
from typing import Any, Final

from clusters.embedded.kubelet import linux
from clusters.embedded.kubelet import root as container_root

Spec = dict[str, Any]  # spec.json, made by recipe.py
_NAMESPACES: Final = ("user", "mnt", "uts", "ipc", "pid")


def enter_user_namespace(spec: Spec) -> None:
    """For a user who is not root: appear as the container's user, with the right to mount."""
    outside_user, outside_group = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{spec['user']} {outside_user} 1")
    Path("/proc/self/gid_map").write_text(f"{spec['group']} {outside_group} 1")


def _become_user(spec: Spec) -> None:
    if spec["change_user"]:
        os.setgroups(spec["supplementary_groups"])
        os.setresgid(spec["group"], spec["group"], spec["group"])
        linux.drop_capabilities()
        os.setresuid(spec["user"], spec["user"], spec["user"])
    if spec["no_new_privileges"]:
        linux.forbid_new_privileges()


def _join_cgroups(spec: Spec) -> None:
    for directory in spec["cgroups"]:
        Path(directory, "cgroup.procs").write_text(str(os.getpid()))


def _exec(spec: Spec) -> None:
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if spec["cwd"]:
        os.chdir(spec["cwd"])
    linux.die_with_parent(signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - no shell wanted


def run_child(spec: Spec, *, stdout: int, stderr: int, status: int) -> None:
    """Never returns: the container's program runs, or the reason why not is in ``status``."""
    try:
        os.setsid()
        _join_cgroups(spec)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (stdout, 1), (stderr, 2)):
            os.dup2(source, target)
        if spec["namespaces"]:
            linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
            root = container_root.Root.from_json(spec["root"])
            with contextlib.suppress(OSError):
                Path("/proc/sys/kernel/hostname").write_text(root.hostname[:64])
            container_root.enter(root)
        _become_user(spec)
        _exec(spec)
    except BaseException as error:
        os.write(status, _describe(error, spec).encode())
    os._exit(128)


def _describe(error: BaseException, spec: Spec) -> str:
    program = spec["argv"][0]
    filename = os.fsdecode(error.filename) if isinstance(error, OSError) and error.filename is not None else ""
    about_program = filename == program or ("/" not in program and Path(filename).name == program)
    if isinstance(error, FileNotFoundError) and about_program:
        where = "no such file or directory" if "/" in program else "executable file not found in $PATH"
        return f'exec: "{program}": {where}'
    if isinstance(error, PermissionError) and about_program:
        return f'exec: "{program}": permission denied'
    if isinstance(error, FileNotFoundError) and filename == spec["cwd"]:
        return f'chdir to working directory "{filename}": no such file or directory'
    return f"{type(error).__name__}: {error}"


# --- A command inside a running container ---------------------------------------------------------


def run_inside(spec: Spec) -> int:
    """Run ``argv`` where the container of process ``target`` lives; return its exit code.

    With ``pid namespaces`` the command is a grandchild, so that it sees the container's processes.
    """
    if spec["namespaces"]:
        _join_namespaces(spec)
    child = os.fork()
    if child == 0:
        try:
            _become_user(spec)
            _exec(spec)
        except BaseException as error:
            os.write(2, _describe(error, spec).encode())
        os._exit(126)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _join_namespaces(spec: Spec) -> None:
    names = [name for name in _NAMESPACES if name != "user" or spec["user_namespace"]]
    names = [name for name in names if name != "pid" or spec["own_pids"]]
    handles = [os.open(f"/proc/{spec['target']}/ns/{name}", os.O_RDONLY) for name in names]
    for handle in handles:
        linux.join_namespace(handle)
        os.close(handle)
    os.chdir("/")

"""`make image`: dist/slipway-routerd-VERSION.tar, an OCI archive of the router, made without any registry.

    Debian packages (mmdebstrap) ──> root filesystem: Python and the C library, nothing that could be a shell
    locked wheels (uv)           ──> + site-packages
    routerd/                     ──> + the program        ──> one layer ──> OCI archive

The same commit gives the same layer, byte for byte, as long as Debian's packages are the same: times are those of the
commit, names are sorted, bytecode is made with hashes. Needs Debian's mmdebstrap, and no root.
"""

import argparse
import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # run as a file, before anything is installed

from deploy.images.oci import Image, write_archive  # noqa: E402 the path comes first

SUITE: Final = "bookworm"
PACKAGES: Final = ("python3.11-minimal", "libpython3.11-stdlib", "netbase", "tzdata")
USER: Final = 10001  # as the manifests of the router say
WRITABLE: Final = ("run/routerd", "var/lib/slipway")  # by that user
LIBRARY: Final = "/opt/slipway"
ENVIRONMENT: Final = {
    "PATH": "/usr/bin:/bin",
    "PYTHONPATH": f"{LIBRARY}/packages:{LIBRARY}",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LANG": "C.UTF-8",
    "ROUTERD_RUN_DIR": "/run/routerd",
}
# Neither needed by a router nor wanted in an image: documents, package tools, terminals, other databases' drivers.
_LEFT_OUT: Final = (
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian", "usr/share/bug"),
    *("usr/share/bash-completion", "usr/share/readline", "usr/share/terminfo", "usr/share/perl5", "usr/share/dpkg"),
    *("usr/share/doc-base", "usr/share/menu", "usr/share/pixmaps", "usr/share/applications", "usr/share/binfmts"),
    *(
        "lib/terminfo",
        "var/cache",
        "var/lib/apt",
        "var/log",
        "etc/apt",
        "etc/dpkg",
        "etc/cron.daily",
        "etc/alternatives",
    ),
    *(
        "usr/lib/python3.11/test",
        "usr/lib/python3.11/idlelib",
        "usr/lib/python3.11/lib2to3",
        "usr/lib/python3.11/pydoc_data",
    ),
)
_KEPT_PROGRAMS: Final = frozenset({"python3.11", "python3", "python"})


def build(target: Path, *, version: str) -> Path:
    """Write the archive to `target`; its path."""
    with tempfile.TemporaryDirectory(prefix="slipway-image-") as name:
        rootfs = build_rootfs(Path(name) / "rootfs")
        image = Image(
            name="slipway-routerd",
            version=version,
            user=f"{USER}:{USER}",
            entrypoint=("python", "-m", "routerd"),
            environment=ENVIRONMENT,
            ports=(8080, 9902),
            created=commit_time(),
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        return write_archive(target, image=image, rootfs=rootfs, owned_by_user=WRITABLE)


def build_rootfs(rootfs: Path) -> Path:
    """Make the image's root filesystem; its path."""
    install_debian(rootfs)
    install_wheels(rootfs)
    install_routerd(rootfs)
    add_user(rootfs)
    return rootfs


def install_debian(rootfs: Path) -> None:
    """Unpack the Debian packages and what they need, without running a script of theirs; then drop the rest."""
    listed = ",".join(PACKAGES)
    command = [
        "mmdebstrap",
        "--quiet",
        "--mode=chrootless",
        "--variant=extract",
        f"--include={listed}",
        SUITE,
        str(rootfs),
    ]
    _run([*command, *sources()])
    for name in _LEFT_OUT:
        shutil.rmtree(rootfs / name, ignore_errors=True)
    for folder in ("bin", "sbin", "usr/bin", "usr/sbin"):
        for program in (rootfs / folder).iterdir() if (rootfs / folder).is_dir() else ():
            if program.name not in _KEPT_PROGRAMS:
                program.unlink()
    for link in ("python3", "python"):
        path = rootfs / "usr/bin" / link
        path.unlink(missing_ok=True)
        path.symlink_to("python3.11")


def sources() -> list[str]:
    """The machine's own package sources, so that a mirror is used where there is one."""
    found = [Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d/debian.sources")]
    return [str(path) for path in found if path.exists() and path.stat().st_size]


def install_wheels(rootfs: Path) -> None:
    """What routerd imports, from the locked list, with its hashes."""
    own = ROOT / ".venv/bin/uv"
    uv = own if own.exists() else "uv"
    target = rootfs / LIBRARY.removeprefix("/") / "packages"
    command = [str(uv), "pip", "install", "--quiet", "--target", str(target), "--python-version", "3.11"]
    command += ["--python-platform", "x86_64-manylinux_2_36", "--only-binary", ":all:", "--link-mode", "copy"]
    _run([*command, "--require-hashes", "-r", str(ROOT / "requirements/routerd.txt")])
    for unwanted in (*target.rglob("__pycache__"), *target.rglob("tests"), target / "bin", target / ".lock"):
        shutil.rmtree(unwanted, ignore_errors=True) if unwanted.is_dir() else unwanted.unlink(missing_ok=True)


def install_routerd(rootfs: Path) -> None:
    """The program itself, and bytecode of everything."""
    library = rootfs / LIBRARY.removeprefix("/")
    shutil.copytree(ROOT / "routerd", library / "routerd", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(
        library,
        quiet=1,
        stripdir=str(rootfs),
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def add_user(rootfs: Path) -> None:
    """The user the program runs as, and the folders it may write to."""
    (rootfs / "etc").mkdir(exist_ok=True)
    (rootfs / "etc/passwd").write_text(
        f"root:x:0:0:root:/:/nonexistent\nrouterd:x:{USER}:{USER}:routerd:/run/routerd:/nonexistent\n"
    )
    (rootfs / "etc/group").write_text(f"root:x:0:\nrouterd:x:{USER}:\n")
    for name in (*WRITABLE, "tmp", "proc", "dev", "sys"):
        (rootfs / name).mkdir(parents=True, exist_ok=True)
    (rootfs / "tmp").chmod(0o1777)


def commit_time() -> int:
    """Unix seconds of the last commit, or of SOURCE_DATE_EPOCH."""
    if told := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(told)
    asked = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def version() -> str:
    """The project's version."""
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return found


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed ({done.returncode}): {(done.stdout + done.stderr)[-2000:]}")


def main() -> int:
    """Build, and say where it lies."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--to", type=Path, default=ROOT / "dist", help="folder of the archive")
    parser.add_argument(
        "--rootfs", type=Path, help="only make the root filesystem, in this folder (for the Dockerfile)"
    )
    given = parser.parse_args()
    if shutil.which("mmdebstrap") is None:
        print("mmdebstrap is missing: apt-get install mmdebstrap", file=sys.stderr)
        return 1
    if given.rootfs:
        build_rootfs(given.rootfs)
        for name in WRITABLE:
            os.chown(given.rootfs / name, USER, USER)
        return 0
    path = build(given.to / f"slipway-routerd-{version()}.tar", version=version())
    print(f"{path} ({path.stat().st_size / 1e6:.0f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Make .venv from the locked requirements. Run by the system's Python: only the standard library, nothing of ours.

    python3 studio/up/bootstrap.py [--dev]

Does nothing when .venv already holds what the lock says (its hash is kept inside). Every way this can fail on a
newcomer's machine ends with one sentence that says what to do, and exit code 1.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
NEEDED_BYTES = 1_500_000_000  # .venv (0.5 GB) and the sample's environment (0.3 GB), twice for the package cache
MINIMUM = (3, 11)

# What pip and uv write when it goes wrong, in their words -> what it means, in ours. The first that matches is said.
FAILURES = (
    (("No space left on device", "Disk quota exceeded"), "The disk is full. Free about 1.5 GB and run it again."),
    (
        ("Failed to establish a new connection", "dns error", "Temporary failure in name resolution", "timed out",
         "Could not connect", "error sending request", "Network is unreachable", "Connection refused",
         "No matching distribution found", "Failed to fetch", "Max retries exceeded"),
        (
            "The package index cannot be reached. Slipway needs the network once, at the first start; behind a proxy "
            "set HTTPS_PROXY, with a mirror of your own set PIP_INDEX_URL and UV_INDEX_URL, then run it again."
        ),
    ),
    (("hash", "mismatch"), "A downloaded package differs from the locked one, so it was refused. Check your mirror."),
)  # fmt: skip


class CannotInstallError(Exception):
    """Why .venv cannot be made, and what to do."""


def main(arguments: list[str]) -> int:
    """Make .venv; returns the exit code."""
    lock = ROOT / "requirements" / ("dev.txt" if "--dev" in arguments else "slipway.txt")
    try:
        check_machine()
        if not is_current(lock):
            install(lock)
    except CannotInstallError as error:
        print(f"slipway: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nslipway: stopped; run it again to go on.", file=sys.stderr)
        return 130
    return 0


def check_machine() -> None:
    """Refuse, in one sentence each, the machines where nothing would work later."""
    if platform.system() != "Linux":
        raise CannotInstallError(
            f"The embedded cluster needs Linux, and this is {platform.system().replace('Darwin', 'macOS')}. "
            "Run Slipway in a Linux virtual machine."
        )
    if sys.version_info[:2] < MINIMUM:
        raise CannotInstallError(f"Python 3.11 or newer is needed, and python3 here is {platform.python_version()}.")


def is_current(lock: Path) -> bool:
    """Whether .venv was made from this lock (a .venv made for development serves for running, too)."""
    try:
        made_from = (VENV / "slipway-lock").read_text().split()
    except FileNotFoundError:
        return False
    return digest(lock) in made_from and (VENV / "bin" / "python").exists()


def digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def install(lock: Path) -> None:
    """Make .venv and install the lock into it."""
    free = shutil.disk_usage(ROOT).free
    if free < NEEDED_BYTES and not VENV.exists():
        raise CannotInstallError(
            f"The disk is full: {free / 1e9:.1f} GB are free here and 1.5 GB are needed. Free some and run it again."
        )
    started = time.monotonic()
    print("Installing Slipway into .venv (once, about 100 MB) ...", flush=True)
    make_venv()
    python = VENV / "bin" / "python"
    step([python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", ROOT / "requirements" / "bootstrap.txt"])
    step([VENV / "bin" / "uv", "pip", "sync", "--quiet", "--python", python, "--require-hashes", lock])
    serves = [digest(lock)]
    if lock.name == "dev.txt":
        serves.append(digest(lock.with_name("slipway.txt")))
    (VENV / "slipway-lock").write_text("\n".join(serves))
    print(f"Installed in {time.monotonic() - started:.0f} s.", flush=True)


def make_venv() -> None:
    """An empty .venv with pip, if there is none that works."""
    if (VENV / "bin" / "python").exists() and (VENV / "bin" / "pip").exists():
        return
    done = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    said = done.stdout + done.stderr
    if "ensurepip" in said or "No module named venv" in said:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise CannotInstallError(
            f"Python's venv module is missing. Install it: sudo apt-get install python{version}-venv"
        )
    raise CannotInstallError(explain(said, fallback=f"python3 -m venv failed: {last_line(said)}"))


def step(command: list[object]) -> None:
    """Run one installer; its output is shown only as the sentence it comes down to."""
    environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"} | dict(os.environ)
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        said = done.stdout + done.stderr
        (VENV / "install.log").write_text(said)
        raise CannotInstallError(explain(said, fallback=f"{last_line(said)} (all of it: .venv/install.log)"))


def explain(said: str, *, fallback: str) -> str:
    """The sentence for what an installer printed."""
    for signs, sentence in FAILURES:
        if any(sign.lower() in said.lower() for sign in signs):
            return sentence
    return fallback


def last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

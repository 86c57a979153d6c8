"""Builds an environment image: a virtual environment below DIR/images, and last its record.

    python -m clusters.embedded.build --ref REF --requirements FILE --python 3.11

Run in a pod of an image that has uv, with the hostPath volume /var/lib/slipway/images (the kubelet says in
SLIPWAY_IMAGES where it is mounted). Prints one line per phase and package as it happens. The environment is
relocatable, so it works under the path of the build pod, of later pods, and of the machine. Two builds of one
reference do not meet: the second waits, and finds it built. Exit 1 with the cause as the last line.
"""

import argparse
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from clusters.embedded.images import IMAGES_PATH, directory_name
from clusters.embedded.pipsettings import read_pip_settings

_CAUSES: Final = (
    (r"No space left on device", "the disk is full"),
    (r"No interpreter found|No download found|not available for", "there is no such version of Python here"),
    (
        r"dns error|failed to lookup|error sending request|Connection refused|tcp connect|timed out|Network is unreach",
        "the package index cannot be reached (no network?)",
    ),
    (
        r"not found in the package registry|no versions? of|No solution found",
        "a required package or version does not exist, or the requirements contradict each other",
    ),
    (r"Failed to build|build backend", "a package has no ready-made wheel and could not be built here"),
)


class BuildError(Exception):
    """The environment cannot be built; the message says why in plain words."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def find_uv() -> str:
    beside = Path(sys.prefix, "bin", "uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise BuildError("uv is not in this image")
    return found


def uv_environment(images: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The pod's own variables, with caches where later builds find them."""
    settings = read_pip_settings(environ)
    defaults = {
        "UV_CACHE_DIR": str(images / "uv-cache"),
        "UV_PYTHON_INSTALL_DIR": str(images / "python"),
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
    }
    if settings.cert:
        defaults["SSL_CERT_FILE"] = settings.cert
    return {**defaults, **environ}


def run_uv(arguments: list[str], *, environ: Mapping[str, str]) -> None:
    """Run uv, passing its lines on as they come. Raises BuildError."""
    lines: list[str] = []
    command = [find_uv(), *arguments]
    with subprocess.Popen(
        command, env=dict(environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            lines.append(line.rstrip())
            say(lines[-1])
    if process.returncode != 0:
        raise BuildError(cause_of("\n".join(lines[-40:])))


def cause_of(output: str) -> str:
    """uv's last words, with a plain reason before them where one is known."""
    last = next((line.strip() for line in output.splitlines() if line.strip().startswith(("error", "×"))), "")
    last = last or (output.strip().splitlines() or ["uv said nothing"])[-1].strip()
    for pattern, words in _CAUSES:
        if re.search(pattern, output):
            return f"{words}: {last}"
    return last


def build(*, ref: str, requirements: Path, python: str, images: Path, environ: Mapping[str, str]) -> None:
    """Make the environment of ``ref`` unless it is there. Raises BuildError, OSError."""
    home = images / directory_name(ref)
    record = home / "image.json"
    images.mkdir(parents=True, exist_ok=True)
    with (images / f".{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if record.exists():
            say(f"Image {ref} is built already")
            return
        shutil.rmtree(home, ignore_errors=True)
        began = time.monotonic()
        variables = uv_environment(images, environ)
        say(f"Building image {ref} with Python {python}")
        run_uv(["venv", "--relocatable", "--python", python, str(home)], environ=variables)
        places = read_pip_settings(environ).uv_arguments()
        target = ["--python", str(home / "bin" / "python")]
        run_uv(["pip", "install", *target, *places, "--requirements", str(requirements)], environ=variables)
        compile_bytecode(home)
        _write_record(record, {"ref": ref, "path": ["bin"], "env": {}, "python": python})
        say(f"Built in {time.monotonic() - began:.1f} s")


def compile_bytecode(home: Path) -> None:
    """Containers cannot, and each start would compile again. Tests of libraries, a quarter of it all, are left out."""
    tests = r"/site-packages/.*/tests?/"
    command = [str(home / "bin" / "python"), "-m", "compileall", "-qq", "-j", "0", "-x", tests, str(home / "lib")]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.stderr:  # a file that is no Python is passed over in silence
        say(f"Bytecode is missing, so starts take longer: {done.stderr.splitlines()[-1]}")


def _write_record(path: Path, value: Mapping[str, object]) -> None:
    draft = path.with_suffix(".new")
    with draft.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m clusters.embedded.build", description="Build an environment image")
    parser.add_argument("--ref", required=True)
    parser.add_argument("--requirements", type=Path, required=True)
    parser.add_argument("--python", default="3.11")
    default = Path(os.environ.get("SLIPWAY_IMAGES") or IMAGES_PATH)
    parser.add_argument("--images", type=Path, default=default, help="where the node's images are mounted")
    given = parser.parse_args()
    try:
        build(
            ref=given.ref,
            requirements=given.requirements,
            python=given.python,
            images=given.images,
            environ=os.environ,
        )
    except (BuildError, OSError) as error:
        full = isinstance(error, OSError) and error.errno == 28
        say(f"The image could not be built: {'the disk is full' if full else error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

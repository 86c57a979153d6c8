"""Install what the tests need beyond .venv: Debian packages, when this runs as root; otherwise say how.

python tests/prepare.py [--slow]
"""

import os
import shutil
import subprocess
import sys

# program -> Debian package. Chromium without its window asks half as much of the machine as `chromium --headless`.
NEEDED = {"chromium-headless-shell": "chromium-headless-shell", "kubectl": "kubernetes-client"}
NEEDED_BY_SLOW = {"redis-server": "redis-server", "pg_createcluster": "postgresql"}  # tests/production


def main() -> int:
    """0 when everything is there at the end."""
    needed = NEEDED | (NEEDED_BY_SLOW if "--slow" in sys.argv[1:] else {})
    missing = [package for program, package in needed.items() if shutil.which(program) is None]
    if not missing:
        return 0
    if os.geteuid() != 0 and missing == ["chromium-headless-shell"] and shutil.which("chromium"):
        return 0  # slower, but the same browser
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"The tests need {', '.join(missing)}. Install it first: sudo {' '.join(command)}", file=sys.stderr)
        return 1
    print(f"Installing {', '.join(missing)} for the tests ...", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update"], command):
        done = subprocess.run(step, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            print(done.stdout[-2000:] + done.stderr[-2000:], file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

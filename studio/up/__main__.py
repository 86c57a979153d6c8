"""python -m studio.up [--json] [--smoke]

Start everything in the foreground and stay until Ctrl-C or SIGTERM; then nothing is left running.
"""

import argparse
import sys

from studio.up.begin import begin_cluster


def main() -> int:
    """The exit code: 0 after an orderly end, 1 with one sentence when Slipway cannot start."""
    parser = argparse.ArgumentParser(prog="python -m studio.up", description=__doc__)
    parser.add_argument("--json", action="store_true", help="tell what happens as JSON lines")
    parser.add_argument("--smoke", action="store_true", help="in a throw-away home: deploy, score once, stop")
    arguments = parser.parse_args()
    if arguments.smoke:
        from studio.up.smoke import run_smoke

        return run_smoke()
    with begin_cluster() as begun:  # before the studio's own imports: the two take as long as each other
        from studio.up.start import start

        return start(begun, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m routerd.artifacts serve|fetch`: see each command's --help."""

import argparse
import sys

from routerd.artifacts import fetch


def main() -> int:
    """Run one command; the exit code."""
    if sys.argv[1:2] == ["serve"]:
        # aiohttp takes 200 ms to import, and fetch runs before every replica.
        from routerd.artifacts import server

        parser = argparse.ArgumentParser(prog="python -m routerd.artifacts serve")
        server.add_arguments(parser)
        return server.run(parser.parse_args(sys.argv[2:]))
    if sys.argv[1:2] == ["fetch"]:
        return fetch.main(sys.argv[2:])
    print("usage: python -m routerd.artifacts serve|fetch [--help]", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

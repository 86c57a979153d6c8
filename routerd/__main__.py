"""`python -m routerd`: the supervisor, and (started by it) the control process."""

import logging
import os
import sys

from routerd.haproxy.process import HaproxyError, require_supported
from routerd.identity import IdentityError
from routerd.settings import Settings, SettingsError, read_settings
from routerd.supervisor import CONTROL_ROLE, ROLE_VARIABLE, Supervisor, control_command


def main() -> int:
    """Run the role this process has; the exit status."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = read_settings(sys.argv[1:])
        if os.environ.get(ROLE_VARIABLE) != CONTROL_ROLE:
            require_supported(settings)
    except SettingsError as error:
        print(f"routerd: {error}", file=sys.stderr)
        return 2
    if os.environ.get(ROLE_VARIABLE) == CONTROL_ROLE:
        return _run_control(settings)
    try:
        return Supervisor(settings, control_command=control_command()).run()
    except (HaproxyError, IdentityError) as error:  # at the start; later it tries again
        print(f"routerd: {error}", file=sys.stderr)
        return 1


def _run_control(settings: Settings) -> int:
    # Only here: the supervisor must stay small, and the control process alone needs asyncio and lightkube.
    import asyncio

    from routerd.daemon import run_control

    logging.getLogger("httpx2").setLevel(logging.WARNING)
    asyncio.run(run_control(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""python -m studio.up [--json] [--smoke]

Start everything in the foreground and stay until Ctrl-C or SIGTERM; then nothing is left running.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from studio.env import PREFIX, Env, UnknownSettingError, read_env
from studio.up.cluster import ClusterProcess
from studio.up.errors import CannotStartError
from studio.up.home import open_home
from studio.up.ports import require_free
from studio.up.report import JsonReport, PeopleReport, Ready, Report
from studio.up.smoke import run_smoke


def main() -> int:
    """The exit code: 0 after an orderly end, 1 with one sentence when Slipway cannot start."""
    parser = argparse.ArgumentParser(prog="python -m studio.up", description=__doc__)
    parser.add_argument("--json", action="store_true", help="tell what happens as JSON lines")
    parser.add_argument("--smoke", action="store_true", help="in a throw-away home: deploy, score once, stop")
    arguments = parser.parse_args()
    if arguments.smoke:
        return run_smoke()
    report: Report = JsonReport() if arguments.json else PeopleReport()
    signal.signal(signal.SIGTERM, stop_starting)
    try:
        env = read_env()
        with open_home(env.home) as home:
            hanging = run(env, home=home, report=report)
    except (CannotStartError, UnknownSettingError) as error:
        report.trouble(str(error))
        return 1
    except ValidationError as error:
        report.trouble(say_wrong_setting(error))
        return 1
    except KeyboardInterrupt:
        return 0
    if hanging:  # a task that hangs must not keep the terminal; its Operation goes on at the next start
        os._exit(0)
    return 0


def say_wrong_setting(error: ValidationError) -> str:
    """The first setting that cannot be used, in a sentence."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    variable = name if name.isupper() else PREFIX + name.upper()
    return f"{variable}={first['input']} cannot be used: {first['msg']}. docs/settings.md says what it may be."


def stop_starting(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    """Until the server has handlers of its own, SIGTERM ends the start as Ctrl-C does."""
    raise KeyboardInterrupt


def run(env: Env, *, home: Path, report: Report) -> list[str]:
    """The cluster first, because it takes longest; the studio meanwhile. Names of threads that did not end."""
    cluster = ClusterProcess(home, port=env.cluster_port, isolation=env.isolation)
    require_free(env.host, env.port, what="the studio", setting="SLIPWAY_PORT")
    if not cluster.left_running():
        require_free("127.0.0.1", env.router_port, what="the router", setting="SLIPWAY_ROUTER_PORT")
    cluster.start()
    try:
        return serve(env, home=home, cluster=cluster, report=report)
    finally:
        cluster.stop()


def serve(env: Env, *, home: Path, cluster: ClusterProcess, report: Report) -> list[str]:
    """Migrate, then the studio's server in this thread until it is told to end; names of threads that did not end."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "studio.settings"
    import django  # from here on the settings are read, and they make files in the home folder

    django.setup()
    from studio.server import PortTakenError, run_server
    from studio.up.prepare import ensure_account, follow_kubeconfig, migrate, password_told
    from studio.up.sample import Sample

    migrate()
    account = ensure_account(home)
    cluster.wait_ready()
    follow_kubeconfig(cluster.kubeconfig)
    sample = Sample(home, cluster=cluster, router_port=env.router_port, report=report)
    shown_host = "127.0.0.1" if env.host in ("0.0.0.0", "::") else env.host  # noqa: S104 - compared, not bound

    def on_ready() -> None:
        address = f"http://{shown_host}:{env.port}"
        kubeconfig = str(cluster.kubeconfig)
        report.ready(Ready(address, kubeconfig=kubeconfig, user=account.user, password=account.password))
        password_told(home)
        sample.start()

    try:
        return run_server(env=env, ready=on_ready)
    except PortTakenError as error:
        raise CannotStartError(str(error)) from error
    finally:
        sample.stop()


if __name__ == "__main__":
    sys.exit(main())

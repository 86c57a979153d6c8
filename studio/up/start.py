"""From the settings to the studio's server, and back to nothing when it ends."""

import os
import signal
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from studio.env import PREFIX, Env, UnknownSettingError, read_env
from studio.up.begin import BegunCluster
from studio.up.cluster import ClusterProcess
from studio.up.errors import CannotStartError
from studio.up.home import open_home
from studio.up.ports import require_free
from studio.up.report import JsonReport, PeopleReport, Ready, Report

MODELS_FIRST = 3.0  # seconds in which models may load before the studio's own tasks take their share of the machine


def start(begun: BegunCluster | None, *, as_json: bool) -> int:
    """The exit code; `begun` is the cluster's process, if it could be begun before the settings were read."""
    report: Report = JsonReport() if as_json else PeopleReport()
    signal.signal(signal.SIGTERM, stop_starting)
    try:
        env = read_env()
        with open_home(env.home) as home:
            hanging = run(env, home=home, begun=begun, report=report)
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


def run(env: Env, *, home: Path, begun: BegunCluster | None, report: Report) -> list[str]:
    """The cluster first, because it takes longest; the studio meanwhile. Names of threads that did not end."""
    cluster = ClusterProcess(home, port=env.cluster_port, isolation=env.isolation)
    require_free(env.host, env.port, what="the studio", setting="SLIPWAY_PORT")
    if not cluster.left_running():
        require_free("127.0.0.1", env.router_port, what="the router", setting="SLIPWAY_ROUTER_PORT")
    cluster.start(begun)
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
        sample.wait_answered(MODELS_FIRST)

    try:
        return run_server(env=env, ready=on_ready, ending=sample.stop)
    except PortTakenError as error:
        raise CannotStartError(str(error)) from error

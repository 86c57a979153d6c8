"""manage.py serve: answer pages and sockets on SLIPWAY_HOST and SLIPWAY_PORT. Production; make up does it by itself."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from studio.env import read_env
from studio.server import PortTakenError, run_server


class Command(BaseCommand):
    help = "Serve pages and sockets until SIGTERM. With REDIS_URL, worker, beat and watcher are other processes."

    def handle(self, *_: Any, **__: Any) -> None:
        env = read_env()
        try:
            left = run_server(env=env, ready=lambda: print(f"Answering on http://{env.host}:{env.port}", flush=True))
        except PortTakenError as error:
            raise CommandError(str(error)) from error
        if left:
            os._exit(1)

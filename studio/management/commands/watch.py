"""manage.py watch: follow every attached cluster. Production only; the embedded studio does it by itself."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from deployments.watch import run_watcher


class Command(BaseCommand):
    help = "Follow every attached cluster and record what it says, until SIGTERM. Run exactly one."

    def handle(self, *_: Any, **__: Any) -> None:
        stop = threading.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        run_watcher(stop)

"""The task queue. Embedded: a worker and a beat in threads of the studio (studio.worker). Production: Redis, and
`celery -A studio worker`, exactly one `celery -A studio beat`, exactly one `manage.py watch`.

A task module is any module of an app's `tasks` package; a package may also name what the beat runs:
SCHEDULE = {"push-stale": ("studio.tasks.operations.push_stale", 10.0)}   # name: (task, seconds)
"""

import os
from importlib import import_module
from importlib.util import find_spec
from pkgutil import walk_packages
from typing import Any

from celery import Celery
from celery.signals import beat_init, import_modules, setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studio.settings")

APPS = ("studio", "clusters", "deployments")

app = Celery("slipway")
app.set_default()  # in every thread
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"polling_interval": 0.05},  # the in-memory queue's default is a whole second
    task_ignore_result=True,
    task_acks_late=True,
    task_default_queue="slipway",
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    enable_utc=True,
    timezone="UTC",
)


@setup_logging.connect
def keep_logging_as_it_is(**_: Any) -> None:
    """The studio has set logging up; Celery must not do it again."""


def load_tasks(**_: Any) -> None:
    """Import every task module, and put each package's SCHEDULE into the beat's. Twice does nothing."""
    for name in APPS:
        package_name = f"{name}.tasks"
        if find_spec(package_name) is None:
            continue
        package = import_module(package_name)
        for module in walk_packages(package.__path__, prefix=f"{package_name}."):
            import_module(module.name)
        for entry, (task, seconds) in getattr(package, "SCHEDULE", {}).items():
            app.conf.beat_schedule[entry] = {"task": task, "schedule": seconds, "options": {"expires": seconds}}


import_modules.connect(load_tasks)
beat_init.connect(load_tasks)

"""The watcher: exactly one in a studio. Keeps as many targets watched as there are rows, until it is told to stop."""

import threading
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db import close_old_connections
from django.db.models import Q
from django.utils import timezone

from clusters.models import ComputeTarget
from deployments.models import Deployment, EnvironmentImage
from deployments.sampler import Sampler
from deployments.watch.logs import LogFollower, Source
from deployments.watch.recorder import UNREACHABLE_AFTER, Recorder
from deployments.watch.target import TargetWatch
from deployments.watch.view import Key, TargetView
from studio.models import UNFINISHED, LogStream, Operation

_TURN: Final = 0.5  # seconds between two looks at the rows
_END_SECONDS: Final = 3.0

log = structlog.get_logger(__name__)


def run_watcher(stop: threading.Event) -> None:
    """Watch all compute targets and sample all routers until `stop` is set. Blocks."""
    Watcher(stop).run()


class Watcher:
    """Owns every thread that observes."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._watches: dict[int, TargetWatch] = {}
        self._follower = LogFollower(stop=stop, copy_to=rollout_log)
        self._recorder = Recorder(view_of=self._view_of, follower=self._follower, stop=stop)
        self._sampler = Sampler(stop=stop)
        self._seen_until = timezone.now() - timedelta(minutes=1)

    def run(self) -> None:
        """Until told to stop."""
        self._follower.start()
        self._recorder.start()
        self._sampler.start()
        try:
            while not self._stop.is_set():
                self._turn(now=timezone.now())
                self._stop.wait(_TURN)
        finally:
            self._end()

    def _view_of(self, target: int) -> TargetView | None:
        watch = self._watches.get(target)
        return watch.view if watch else None

    def _turn(self, *, now: datetime) -> None:
        try:
            close_old_connections()
            self._follow_targets()
            self._mark_changed_rows(now=now)
            self._mark_unreachable(now=now)
        except Exception:  # the database may be away for a moment; the next turn tries again
            log.exception("Watcher's turn broke")

    def _follow_targets(self) -> None:
        targets = {row.pk: row for row in ComputeTarget.objects.select_related("cluster", "workspace")}
        for pk, watch in list(self._watches.items()):
            if pk not in targets or targets[pk].cluster.connection != watch.connection:
                self._watches.pop(pk).stop()
        for pk, row in targets.items():
            if pk not in self._watches:
                log.info("Watching", target=row.name, cluster=row.cluster.name)
                self._watches[pk] = TargetWatch(row, recorder=self._recorder, follower=self._follower)
                self._watches[pk].start()

    def _mark_changed_rows(self, *, now: datetime) -> None:
        """A status depends on rows as well: deploys begin and end, revisions prove themselves."""
        since, self._seen_until = self._seen_until - timedelta(seconds=2), now
        moved = Operation.objects.filter(subject_kind="deployment").filter(
            Q(created_at__gte=since) | Q(finished_at__gte=since)
        )
        ids = [int(pk) for pk in moved.values_list("subject_id", flat=True)]
        rows = Deployment.objects.filter(Q(pk__in=ids) | Q(updated_at__gte=since))
        for target, endpoint, name in rows.values_list("endpoint__target_id", "endpoint__name", "name"):
            self._recorder.mark(target, [(endpoint, name)])

    def _mark_unreachable(self, *, now: datetime) -> None:
        for pk, watch in self._watches.items():
            if watch.view.trouble(before=now - UNREACHABLE_AFTER):
                self._recorder.mark(pk, _keys_of(pk))

    def _end(self) -> None:
        for watch in self._watches.values():
            watch.stop()
        for watch in self._watches.values():
            watch.join(timeout=_END_SECONDS)
        self._sampler.join(timeout=_END_SECONDS)
        self._recorder.join(timeout=_END_SECONDS)
        self._follower.join(timeout=_END_SECONDS)


def _keys_of(target: int) -> list[Key]:
    rows = Deployment.objects.filter(endpoint__target_id=target)
    return list(rows.values_list("endpoint__name", "name"))


def rollout_log(source: Source) -> LogStream | None:
    """The log of the Operation a source's lines belong to as well, while it is under way."""
    unfinished = LogStream.objects.filter(operation__kind="deploy", operation__state__in=UNFINISHED)
    if source.subject.kind == "deployment":
        mine = unfinished.filter(operation__subject_kind="deployment", operation__subject_id=source.subject.id)
        return mine.filter(operation__params__revision=source.revision).first()
    builders = EnvironmentImage.objects.filter(definition_hash__startswith=source.subject.id).exclude(operation=None)
    return unfinished.filter(operation_id__in=builders.values("operation_id")).first()

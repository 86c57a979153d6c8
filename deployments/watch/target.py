"""Watching one compute target: a thread a kind, all into one view; logs of its pods are begun from here."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db import connections
from django.utils import timezone

from clusters.connections import kube_for
from clusters.kube.client import Kube
from clusters.kube.errors import KubeError
from clusters.kube.kinds import EVENTS, PODS, Kind
from clusters.kube.watch import watch_forever
from clusters.models import ComputeTarget
from deployments.manifests.build import BUILD_CONTAINER, BUILD_FOR, BUILD_LABEL
from deployments.models import Deployment, EnvironmentImage
from deployments.watch.events import line_of
from deployments.watch.logs import LogFollower, Source, started_runs
from deployments.watch.recorder import Recorder
from deployments.watch.view import WATCHED, TargetView, key_of
from routerd import contract
from studio.services.operations import Subject, wake

_SELECTOR: Final = f"{contract.MANAGED_BY}={contract.MANAGED_BY_SLIPWAY}"
_AGAIN_AFTER: Final = 5.0
_CLOCKS_DIFFER: Final = timedelta(seconds=2)

Obj = dict[str, Any]
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Owner:
    """Whose pod it is."""

    subject: Subject
    revision: int


class TargetWatch:
    """Owns the threads of one target."""

    def __init__(self, target: ComputeTarget, *, recorder: Recorder, follower: LogFollower) -> None:
        self.target = target
        self.connection = target.cluster.connection
        self.view = TargetView()
        self._recorder = recorder
        self._follower = follower
        self._kube: Kube = kube_for(target.cluster)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(kind,), name=f"watch-{kind.plural}-{target.name}", daemon=True)
            for kind in WATCHED
        ]
        if target.cluster.runtime == contract.RUNTIME_PROCESS:
            self._threads.append(
                threading.Thread(target=self._watch_builds, name=f"watch-builds-{target.name}", daemon=True)
            )
        self._events: set[str] = set()
        self._threads.append(
            threading.Thread(target=self._watch_events, name=f"watch-events-{target.name}", daemon=True)
        )

    def start(self) -> None:
        """Start all threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask them to end."""
        self._stop.set()

    def join(self, *, timeout: float) -> None:
        """Wait until they have ended."""
        for thread in self._threads:
            thread.join(timeout)

    def _watch_builds(self) -> None:
        """Builds this target asked for; they have a namespace of their own."""

        def synced(pods: list[Obj]) -> None:
            for pod in pods:
                self._look_at_build("MODIFIED", pod)

        try:
            watch_forever(
                self._kube,
                PODS,
                contract.BUILDS_NAMESPACE,
                on_sync=synced,
                on_change=self._look_at_build,
                on_state=lambda _, __: None,
                stop=self._stop,
                label_selector=f"{_SELECTOR},{BUILD_FOR}={self.target.namespace}",
            )
        except Exception:
            log.exception("Builds are not followed any more", target=self.target.name)
        finally:
            connections.close_all()

    def _look_at_build(self, type_: str, pod: Obj) -> None:
        if type_ == "DELETED":
            self._follower.forget({pod["metadata"]["uid"]})
        else:
            self._follow_build(pod)

    def _watch_events(self) -> None:
        """Events only explain; a cluster that does not show them is watched all the same."""
        began = timezone.now()
        try:
            watch_forever(
                self._kube,
                EVENTS,
                self.target.namespace,
                on_sync=lambda events: self._note_events(events, since=began),
                on_change=lambda _, event: self._note_events([event], since=began),
                on_state=lambda _, __: None,
                stop=self._stop,
            )
        except Exception:
            log.exception("Events are not followed any more", target=self.target.name)
        finally:
            connections.close_all()

    def _note_events(self, events: list[Obj], *, since: datetime) -> None:
        """The first time an event of a replica happens becomes a line; a probe that fails every second is one line."""
        pods = {pod["metadata"]["uid"]: pod for pod in self.view.all(PODS)}
        for event in events:
            line, uid = line_of(event), event["metadata"]["uid"]
            pod = pods.get((event.get("involvedObject") or {}).get("uid", ""))
            if pod is None or line is None or line.at < since - _CLOCKS_DIFFER or uid in self._events:
                continue
            self._events.add(uid)
            owner = self._owner(*key_of(pod), pod=pod)
            if owner is not None:
                self._follower.note(self._source(pod, container="event", run=0, owner=owner), line=line)

    def look_again(self) -> None:
        """Mark everything the view knows."""
        self._recorder.mark(self.target.pk, {key_of(obj) for kind in WATCHED for obj in self.view.all(kind)})

    def _watch(self, kind: Kind) -> None:
        """A callback that broke is a bug of ours: said in the log, and the watch begins again with a whole list."""
        while not self._stop.is_set():
            try:
                watch_forever(
                    self._kube,
                    kind,
                    self.target.namespace,
                    on_sync=lambda objects: self._synced(kind, objects),
                    on_change=lambda type_, obj: self._changed(kind, type_, obj),
                    on_state=lambda connected, error: self._state(kind, connected, error),
                    stop=self._stop,
                    label_selector=_SELECTOR,
                )
            except Exception:
                log.exception("Watch broke", kind=kind.plural, target=self.target.name)
                self._stop.wait(_AGAIN_AFTER)
        connections.close_all()

    def _synced(self, kind: Kind, objects: list[Obj]) -> None:
        keys = self.view.replace(kind, objects)
        if kind == PODS:
            for pod in objects:
                self._look_at_pod(pod)
        self._recorder.mark(self.target.pk, keys)

    def _changed(self, kind: Kind, type_: str, obj: Obj) -> None:
        key = self.view.change(kind, type_, obj)
        if kind == PODS and type_ != "DELETED":
            self._look_at_pod(obj)
        elif kind == PODS:
            self._follower.forget({obj["metadata"]["uid"]})
        self._recorder.mark(self.target.pk, [key])

    def _state(self, kind: Kind, connected: bool, error: KubeError | None) -> None:
        now: datetime = timezone.now()
        self.view.set_state(kind, trouble="" if connected else (error.cause if error else "no connection"), now=now)
        if connected:
            self.look_again()

    # --- Logs ---------------------------------------------------------------------------------------

    def _look_at_pod(self, pod: Obj) -> None:
        for container in (contract.FETCH_CONTAINER, contract.SERVER_CONTAINER):
            for run in started_runs(pod, container):
                self._follow(pod, container=container, run=run)

    def _follow(self, pod: Obj, *, container: str, run: int) -> None:
        endpoint, deployment = key_of(pod)
        if self._follower.knows((pod["metadata"]["uid"], container, run)):
            return
        owner = self._owner(endpoint, deployment, pod=pod)
        if owner is not None:
            self._begin(
                pod,
                container=container,
                run=run,
                owner=owner,
                on_end=lambda: self._recorder.mark(self.target.pk, [(endpoint, deployment)]),
            )

    def _owner(self, endpoint: str, deployment: str, *, pod: Obj) -> _Owner | None:
        row = Deployment.objects.filter(
            endpoint__target=self.target, endpoint__name=endpoint, name=deployment
        ).select_related("endpoint")
        found = row.first()
        if found is None:
            return None
        revision = int((pod["metadata"].get("labels") or {}).get(contract.REVISION, 0))
        return _Owner(subject=Subject("deployment", str(found.pk), str(found)), revision=revision)

    def _follow_build(self, pod: Obj) -> None:
        hash_start = (pod["metadata"].get("labels") or {}).get(BUILD_LABEL, "")
        runs = started_runs(pod, BUILD_CONTAINER)
        for run in runs:
            owner = _Owner(subject=Subject("environment-image", hash_start, pod["metadata"]["name"]), revision=0)
            self._begin(
                pod, container=BUILD_CONTAINER, run=run, owner=owner, on_end=lambda: self._wake_builder(hash_start)
            )
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if ended and not self._follower.is_following(pod["metadata"]["uid"]):
            self._wake_builder(hash_start)

    def _wake_builder(self, hash_start: str) -> None:
        rows = EnvironmentImage.objects.filter(cluster=self.target.cluster, definition_hash__startswith=hash_start)
        for operation in rows.exclude(operation=None).values_list("operation_id", flat=True):
            wake(operation)

    def _begin(self, pod: Obj, *, container: str, run: int, owner: _Owner, on_end: Callable[[], None]) -> None:
        source = self._source(pod, container=container, run=run, owner=owner)
        self._follower.begin(replace(source, on_end=on_end))

    def _source(self, pod: Obj, *, container: str, run: int, owner: _Owner) -> Source:
        return Source(
            kube=self._kube,
            workspace=self.target.workspace,
            namespace=pod["metadata"]["namespace"],
            pod=pod["metadata"]["name"],
            uid=pod["metadata"]["uid"],
            container=container,
            run=run,
            subject=owner.subject,
            revision=owner.revision,
        )

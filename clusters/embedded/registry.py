"""Every verb of the API goes through here, from HTTP and from controllers alike.

The methods are synchronous and belong to one event loop, so a verb is atomic by construction. Objects that come
out are shared: never change one, deep-copy it first.

    verb -> new object -> defaults -> admission -> validation -> ownership -> memory and disk (objects.py)

`committed()` lets an HTTP reply wait until it is on disk. What others hang in here:

  * `admission`: functions called with an `Admission` before validation; they may change
    `Admission.obj` or raise an ApiError. cluster.py adds the one that gives Services their ClusterIP.
  * `guard`: an argument of each writing verb, asked after validation; the server hands in the one that lets
    nobody give away rights they do not have.
  * `subscribe(callback, *resources)`: a cheap "look again" after each committed change.
  * `watch(...)`: an async iterator of `Change` (`.type`, `.obj`, `.old`), since a resourceVersion.

Field ownership (managedFields) is tracked for whoever names itself (`manager="..."`). The cluster's
own controllers may leave it empty and stay out of it. Without a running event loop (tests, start-up)
every write commits at once.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypedDict, Unpack

from clusters.embedded import apply, crds, defaults, lifecycle
from clusters.embedded.errors import AlreadyExists, BadRequest, Forbidden, NotFound
from clusters.embedded.events import Similar, event_for, expired
from clusters.embedded.objects import Objects
from clusters.embedded.resources import CUSTOM_RESOURCE_DEFINITIONS, EVENTS, NAMESPACES, Obj, Resource, copied
from clusters.embedded.schemas import decoding
from clusters.embedded.store import Store
from clusters.embedded.validation.check import validate

log = logging.getLogger(__name__)

_EVENTS_LOOK: Final = timedelta(minutes=1)
_SYSTEM_NAMESPACES: Final = ("default", "kube-node-lease", "kube-public", "kube-system")


@dataclass
class Admission:
    """What an admission function sees. `obj` may be changed in place; `old` never."""

    operation: str  # CREATE or UPDATE
    resource: Resource
    obj: Obj
    old: Obj | None
    subresource: str = ""


AdmissionFunction = Callable[[Admission], None]
Guard = AdmissionFunction  # asked by the verb that is given it: may this caller write this?
UnknownFields = Callable[[list[str]], None]  # told the paths of fields the kind does not have


class How(TypedDict, total=False):
    """What every writing verb may be told besides the object."""

    dry_run: bool
    unknown: UnknownFields
    guard: Guard


class Registry(Objects):
    def __init__(self, store: Store, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(store)
        self.admission: list[AdmissionFunction] = []
        self.clock = clock
        self._events_looked_at = clock()
        self._similar_events = Similar()
        for name in _SYSTEM_NAMESPACES:
            if self.find(NAMESPACES, None, name) is None:
                self.create(NAMESPACES, {"metadata": {"name": name}})

    # --- Writing --------------------------------------------------------------------------------

    def create(
        self,
        resource: Resource,
        obj: Obj,
        *,
        namespace: str | None = None,
        manager: str = "",
        **how: Unpack[How],
    ) -> Obj:
        """Raises AlreadyExists, Invalid, NotFound or Forbidden (for the namespace), BadRequest."""
        new = lifecycle.for_create(resource, obj, namespace=namespace, now=self.clock())
        _decode(resource, new, how)
        self._check_namespace(resource, new)
        name, place = new["metadata"]["name"], new["metadata"].get("namespace")
        if self.stored(resource, place, name) is not None:
            raise AlreadyExists.of(resource, name)
        new = self._admit(Admission("CREATE", resource, new, None), how)
        apply.track_update(resource, None, new, manager=manager, subresource="", now=self.clock())
        return new if how.get("dry_run") else self._write(resource, None, new).obj

    def update(
        self,
        resource: Resource,
        obj: Obj,
        *,
        subresource: str = "",
        manager: str = "",
        **how: Unpack[How],
    ) -> Obj:
        """Replace an object. A resourceVersion in `obj` must be the current one, else Conflict.

        The status is left alone where it is a subresource; with `subresource="status"` only it changes.
        """
        metadata = obj.get("metadata") or {}
        old = self.get(resource, metadata.get("namespace"), str(metadata.get("name", "")))
        lifecycle.check_preconditions(resource, old, metadata)
        new = lifecycle.for_update(resource, old, obj, subresource=subresource)
        if subresource == "status":  # whoever asks for it hears of the rest as well, which is not taken
            read = {**obj, "status": new["status"]} if "unknown" in how else {"status": new["status"]}
            _decode(resource, read, how)
        else:
            _decode(resource, new, how)
        return self._replace(resource, old, new, subresource=subresource, manager=manager, how=how)

    def update_status(self, resource: Resource, obj: Obj, *, manager: str = "") -> Obj:
        return self.update(resource, obj, subresource="status", manager=manager)

    def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        change: Callable[[Obj], Obj],
        subresource: str = "",
        manager: str = "",
        **how: Unpack[How],
    ) -> Obj:
        """Replace an object by `change(copy of it)`, which patch.py makes out of a patch document."""
        old = self.get(resource, namespace, name)
        new = change({**copied(old), "apiVersion": resource.api_version})
        metadata = new.get("metadata")
        if not isinstance(metadata, dict) or metadata.get("name") != name:
            raise BadRequest("the name of the object cannot be changed by a patch")
        return self.update(resource, new, subresource=subresource, manager=manager, **how)

    def apply(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        applied: Obj,
        manager: str,
        force: bool = False,
        subresource: str = "",
        **how: Unpack[How],
    ) -> tuple[Obj, bool]:
        """Server-side apply: (object, whether it was made). Raises Conflict naming the other owners."""
        old = self.find(resource, namespace, name)
        wanted = lifecycle.for_apply(resource, applied, namespace=namespace, name=name)
        _decode(resource, wanted, how)
        now = self.clock()
        merged = apply.merge(resource, old, wanted, manager=manager, force=force, subresource=subresource, now=now)
        if old is None:
            if subresource:
                raise NotFound.of(resource, name)
            return self._create_applied(resource, merged, namespace=namespace, how=how), True
        lifecycle.check_preconditions(resource, old, applied.get("metadata") or {})
        managed = merged["metadata"].get("managedFields")
        new = lifecycle.for_update(resource, old, merged, subresource=subresource)
        new["metadata"]["managedFields"] = managed or []
        return self._replace(resource, old, new, subresource=subresource, how=how), False

    def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        propagation: str = "Background",
        grace_seconds: int | None = None,
        preconditions_uid: str | None = None,
        preconditions_revision: str | None = None,
        dry_run: bool = False,
    ) -> Obj:
        """Remove, or mark as being removed while finalizers or a running pod stand in the way."""
        old = self.get(resource, namespace, name)
        lifecycle.check_deletion(resource, old, uid=preconditions_uid, revision=preconditions_revision)
        if resource == NAMESPACES and name in _SYSTEM_NAMESPACES[:1] + _SYSTEM_NAMESPACES[2:]:
            raise Forbidden(f'namespaces "{name}" is forbidden: this namespace may not be deleted')
        new = lifecycle.for_delete(
            resource, old, propagation=propagation, grace_seconds=grace_seconds, now=self.clock()
        )
        if dry_run:
            return new or old
        if new is None:
            return self._remove(resource, old)
        if new == old:
            return old
        return self._write(resource, old, new).obj

    def finalize_namespace(self, name: str) -> None:
        """The namespace is empty: let go of it (what the namespace controller calls last)."""
        old = self.get(NAMESPACES, None, name)
        new = copied(old)
        new["spec"] = {**new.get("spec", {}), "finalizers": []}
        self._replace(NAMESPACES, old, new, subresource="finalize", manager="", how={})

    def record_event(self, obj: Obj, *, type: str, reason: str, message: str, component: str) -> None:  # noqa: A002 -- Kubernetes' own word
        """Tell about `obj` in a core/v1 Event; the same or the like again counts up instead of piling up."""
        now = self.clock()
        event = event_for(obj, type=type, reason=reason, message=message, component=component, now=now)
        event = self._similar_events.combine(event, now=now)
        namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
        self._expire_events()
        old = self.find(EVENTS, namespace, name)
        try:
            if old is None:
                self.create(EVENTS, event, namespace=namespace)
                return
            news = {key: event[key] for key in ("message", "lastTimestamp")}
            self.update(EVENTS, {**old, **news, "count": old["count"] + 1})
        except (NotFound, Forbidden) as error:  # the namespace is going away: nobody to tell
            log.debug("Event not recorded: %s", error.message)

    def _expire_events(self) -> None:
        """Events live for an hour; looked at once a minute, when one is written."""
        now = self.clock()
        if now < self._events_looked_at + _EVENTS_LOOK:
            return
        self._events_looked_at = now
        for event in self.list(EVENTS):
            if expired(event, now=now):
                self._remove(EVENTS, event)

    # --- Within ---------------------------------------------------------------------------------

    def _check_namespace(self, resource: Resource, obj: Obj) -> None:
        if not resource.namespaced:
            return
        name = obj["metadata"]["namespace"]
        namespace = self.get(NAMESPACES, None, name)
        if "deletionTimestamp" in namespace["metadata"]:
            raise Forbidden(
                f'{resource.qualified} "{obj["metadata"]["name"]}" is forbidden: unable to create new '
                f"content in namespace {name} because it is being terminated",
                details={"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]},
            )

    def _admit(self, admission: Admission, how: How) -> Obj:
        defaults.apply_defaults(admission.resource, admission.obj)
        for function in self.admission:
            function(admission)
        validate(admission.resource, admission.obj, old=admission.old)
        if "guard" in how:
            how["guard"](admission)
        if admission.resource == CUSTOM_RESOURCE_DEFINITIONS:
            crds.establish(admission.obj, now=self.clock())
        return admission.obj

    def _create_applied(self, resource: Resource, merged: Obj, *, namespace: str | None, how: How) -> Obj:
        managed = merged["metadata"].pop("managedFields", [])
        new = lifecycle.for_create(resource, merged, namespace=namespace, now=self.clock())
        self._check_namespace(resource, new)
        new = self._admit(Admission("CREATE", resource, new, None), how)
        new["metadata"]["managedFields"] = managed
        return new if how.get("dry_run") else self._write(resource, None, new).obj

    def _replace(
        self, resource: Resource, old: Obj, new: Obj, *, subresource: str, manager: str | None = None, how: How
    ) -> Obj:
        new = self._admit(Admission("UPDATE", resource, new, old, subresource), how)
        if manager is not None:  # an apply has settled ownership itself
            apply.track_update(resource, old, new, manager=manager, subresource=subresource, now=self.clock())
        if lifecycle.same(old, new):
            return old
        lifecycle.bump_generation(resource, old, new)
        if how.get("dry_run"):
            return new
        if lifecycle.may_vanish(resource, new):
            return self._remove(resource, new)
        return self._write(resource, old, new).obj


def _decode(resource: Resource, obj: Obj, how: How) -> None:
    paths = decoding.decode(resource, obj)
    if paths and "unknown" in how:
        how["unknown"](paths)

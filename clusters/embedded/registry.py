"""Every verb of the API goes through here, from HTTP and from controllers alike.

One `Registry` holds all objects in memory and writes each change through to the store. Its methods
are synchronous and belong to one event loop, so a verb is atomic by construction. Objects that come
out are shared: never change one, deep-copy it first.

    verb -> new object -> defaults -> admission -> validation -> ownership -> memory + open transaction
                                                                                       |
                         end of this turn of the event loop:  commit, then tell watches and subscribers

`committed()` lets an HTTP reply wait for that commit. The resourceVersion is one global sequence.
An object is encoded once per change; lists, watches and the disk share the bytes.

What others hang in here:

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from clusters.embedded import apply, crds, defaults, lifecycle
from clusters.embedded.commits import Commits
from clusters.embedded.errors import (
    AlreadyExists,
    BadRequest,
    Forbidden,
    NotFound,
)
from clusters.embedded.events import event_for, expired
from clusters.embedded.journal import Callback, Change, Journal, Stored, Watch
from clusters.embedded.resources import (
    BUILT_IN,
    CUSTOM_RESOURCE_DEFINITIONS,
    EVENTS,
    NAMESPACES,
    Catalog,
    Obj,
    Resource,
    copied,
)
from clusters.embedded.schemas import decoding
from clusters.embedded.selectors import Selector
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


class Registry:
    def __init__(self, store: Store, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.catalog = Catalog(BUILT_IN)
        self.admission: list[AdmissionFunction] = []
        self.clock = clock
        self._store = store
        self._revision = store.revision()
        self._tables: dict[str, dict[tuple[str, str], Stored]] = {}
        self._load()
        self._journal = Journal(start=self._revision)
        self._commits = Commits(store, journal=self._journal)
        self._events_looked_at = clock()
        for name in _SYSTEM_NAMESPACES:
            if self.find(NAMESPACES, None, name) is None:
                self.create(NAMESPACES, {"metadata": {"name": name}})

    # --- Reading --------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def told_revision(self) -> int:
        """The last revision that is committed and that watches have been given."""
        return self._journal.revision

    def find(self, resource: Resource, namespace: str | None, name: str) -> Obj | None:
        stored = self.stored(resource, namespace, name)
        return None if stored is None else stored.obj

    def get(self, resource: Resource, namespace: str | None, name: str) -> Obj:
        """Raises NotFound."""
        obj = self.find(resource, namespace, name)
        if obj is None:
            raise NotFound.of(resource, name)
        return obj

    def list(self, resource: Resource, namespace: str | None = None, *, selector: Selector | None = None) -> list[Obj]:
        """In order of namespace and name; all namespaces without one."""
        found = (stored.obj for stored in self.all_stored(resource, namespace))
        if selector is None:
            return list(found)
        return [obj for obj in found if selector.matches(obj["metadata"].get("labels"))]

    def stored(self, resource: Resource, namespace: str | None, name: str) -> Stored | None:
        place = (namespace or "") if resource.namespaced else ""
        return self._tables.get(resource.key, {}).get((place, name))

    def all_stored(self, resource: Resource, namespace: str | None = None) -> Iterator[Stored]:
        """What `list` gives, with the encoded bytes."""
        table = self._tables.get(resource.key, {})
        for place in sorted(table):
            if not namespace or place[0] == namespace:
                yield table[place]

    # --- Writing --------------------------------------------------------------------------------

    def create(
        self,
        resource: Resource,
        obj: Obj,
        *,
        namespace: str | None = None,
        manager: str = "",
        dry_run: bool = False,
        unknown: UnknownFields | None = None,
        guard: Guard | None = None,
    ) -> Obj:
        """Raises AlreadyExists, Invalid, NotFound or Forbidden (for the namespace), BadRequest."""
        new = lifecycle.for_create(resource, obj, namespace=namespace, now=self.clock())
        _decode(resource, new, unknown)
        self._check_namespace(resource, new)
        name, place = new["metadata"]["name"], new["metadata"].get("namespace")
        if self.stored(resource, place, name) is not None:
            raise AlreadyExists.of(resource, name)
        new = self._admit(Admission("CREATE", resource, new, None), guard)
        apply.track_update(resource, None, new, manager=manager, subresource="", now=self.clock())
        if dry_run:
            return new
        return self._write(resource, None, new).obj

    def update(
        self,
        resource: Resource,
        obj: Obj,
        *,
        subresource: str = "",
        manager: str = "",
        dry_run: bool = False,
        unknown: UnknownFields | None = None,
        guard: Guard | None = None,
    ) -> Obj:
        """Replace an object. A resourceVersion in `obj` must be the current one, else Conflict.

        The status is left alone where it is a subresource; with `subresource="status"` only it changes.
        """
        metadata = obj.get("metadata") or {}
        old = self.get(resource, metadata.get("namespace"), str(metadata.get("name", "")))
        lifecycle.check_preconditions(resource, old, metadata)
        new = lifecycle.for_update(resource, old, obj, subresource=subresource)
        _decode(resource, new, unknown)
        return self._replace(resource, old, new, subresource=subresource, manager=manager, dry_run=dry_run, guard=guard)

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
        dry_run: bool = False,
        unknown: UnknownFields | None = None,
        guard: Guard | None = None,
    ) -> Obj:
        """Replace an object by `change(copy of it)`, which patch.py makes out of a patch document."""
        old = self.get(resource, namespace, name)
        new = change({**copied(old), "apiVersion": resource.api_version})
        metadata = new.get("metadata")
        if not isinstance(metadata, dict) or metadata.get("name") != name:
            raise BadRequest("the name of the object cannot be changed by a patch")
        return self.update(
            resource,
            new,
            subresource=subresource,
            manager=manager,
            dry_run=dry_run,
            unknown=unknown,
            guard=guard,
        )

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
        dry_run: bool = False,
        unknown: UnknownFields | None = None,
        guard: Guard | None = None,
    ) -> tuple[Obj, bool]:
        """Server-side apply: (object, whether it was made). Raises Conflict naming the other owners."""
        old = self.find(resource, namespace, name)
        wanted = lifecycle.for_apply(resource, applied, namespace=namespace, name=name)
        _decode(resource, wanted, unknown)
        merged = apply.merge(
            resource,
            old,
            wanted,
            manager=manager,
            force=force,
            subresource=subresource,
            now=self.clock(),
        )
        if old is None:
            if subresource:
                raise NotFound.of(resource, name)
            made = self._create_applied(resource, merged, namespace=namespace, dry_run=dry_run, guard=guard)
            return made, True
        lifecycle.check_preconditions(resource, old, applied.get("metadata") or {})
        managed = merged["metadata"].get("managedFields")
        new = lifecycle.for_update(resource, old, merged, subresource=subresource)
        new["metadata"]["managedFields"] = managed or []
        return self._replace(resource, old, new, subresource=subresource, dry_run=dry_run, guard=guard), False

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
        wanted = {"uid": preconditions_uid, "resourceVersion": preconditions_revision}
        lifecycle.check_preconditions(resource, old, wanted)
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
        self._replace(NAMESPACES, old, new, subresource="finalize", manager="")

    def record_event(self, obj: Obj, *, type: str, reason: str, message: str, component: str) -> None:  # noqa: A002 -- Kubernetes' own word
        """Tell about `obj` in a core/v1 Event; the same again counts up instead of piling up."""
        event = event_for(obj, type=type, reason=reason, message=message, component=component, now=self.clock())
        namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
        self._expire_events()
        old = self.find(EVENTS, namespace, name)
        try:
            if old is None:
                self.create(EVENTS, event, namespace=namespace)
                return
            again = {**old, "count": old["count"] + 1, "lastTimestamp": event["lastTimestamp"]}
            self.update(EVENTS, again)
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

    # --- Being told -----------------------------------------------------------------------------

    def watch(
        self,
        resource: Resource | None = None,
        namespace: str | None = None,
        *,
        since: int | None = None,
    ) -> Watch:
        """Changes after `since` (Gone when forgotten), or from now on."""
        self.flush()
        key = None if resource is None else resource.key
        return self._journal.watch(key, namespace=namespace, since=since)

    def subscribe(self, callback: Callback, *resources: Resource) -> Callable[[], None]:
        """Call back after each committed change of these kinds. Returns how to stop it."""
        return self._journal.subscribe(callback, *(resource.key for resource in resources))

    async def committed(self) -> None:
        """Wait until everything written so far is on disk."""
        await self._commits.done()

    def flush(self) -> None:
        """Commit what is pending and tell about it, now."""
        self._commits.flush()

    def compact(self) -> None:
        self.flush()
        self._journal.compact()

    def close(self) -> None:
        self.flush()
        self._journal.close()
        self._store.close()

    # --- Within ---------------------------------------------------------------------------------

    def _load(self) -> None:
        for key, body in self._store.objects():
            obj = crds.decode(body)
            metadata = obj["metadata"]
            place = (metadata.get("namespace", ""), metadata["name"])
            self._tables.setdefault(key, {})[place] = Stored(obj, body=body)
        for definition in self.list(CUSTOM_RESOURCE_DEFINITIONS):
            self._serve(definition)

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

    def _admit(self, admission: Admission, guard: Guard | None) -> Obj:
        defaults.apply_defaults(admission.resource, admission.obj)
        for function in self.admission:
            function(admission)
        validate(admission.resource, admission.obj, old=admission.old)
        if guard is not None:
            guard(admission)
        if admission.resource == CUSTOM_RESOURCE_DEFINITIONS:
            crds.establish(admission.obj, now=self.clock())
        return admission.obj

    def _create_applied(
        self, resource: Resource, merged: Obj, *, namespace: str | None, dry_run: bool, guard: Guard | None
    ) -> Obj:
        managed = merged["metadata"].pop("managedFields", [])
        new = lifecycle.for_create(resource, merged, namespace=namespace, now=self.clock())
        self._check_namespace(resource, new)
        new = self._admit(Admission("CREATE", resource, new, None), guard)
        new["metadata"]["managedFields"] = managed
        return new if dry_run else self._write(resource, None, new).obj

    def _replace(
        self,
        resource: Resource,
        old: Obj,
        new: Obj,
        *,
        subresource: str,
        manager: str | None = None,
        dry_run: bool = False,
        guard: Guard | None = None,
    ) -> Obj:
        new = self._admit(Admission("UPDATE", resource, new, old, subresource), guard)
        if manager is not None:  # an apply has settled ownership itself
            apply.track_update(resource, old, new, manager=manager, subresource=subresource, now=self.clock())
        if lifecycle.same(old, new):
            return old
        lifecycle.bump_generation(resource, old, new)
        if dry_run:
            return new
        if lifecycle.may_vanish(resource, new):
            return self._remove(resource, new)
        return self._write(resource, old, new).obj

    def _write(self, resource: Resource, old: Obj | None, new: Obj) -> Stored:
        self._revision += 1
        new["metadata"]["resourceVersion"] = str(self._revision)
        stored = Stored(new)
        namespace, name = new["metadata"].get("namespace", ""), new["metadata"]["name"]
        table = self._tables.setdefault(resource.key, {})
        before = table.get((namespace, name))
        table[namespace, name] = stored
        self._store.put(resource.key, namespace=namespace, name=name, body=stored.body)
        if resource == CUSTOM_RESOURCE_DEFINITIONS:
            self._serve(new)
        self._commits.add(Change("ADDED" if old is None else "MODIFIED", resource.key, namespace, stored, before))
        return stored

    def _remove(self, resource: Resource, last: Obj) -> Obj:
        self._revision += 1
        last = {**last, "metadata": {**last["metadata"], "resourceVersion": str(self._revision)}}
        namespace, name = last["metadata"].get("namespace", ""), last["metadata"]["name"]
        before = self._tables[resource.key].pop((namespace, name))
        self._store.remove(resource.key, namespace=namespace, name=name)
        if resource == CUSTOM_RESOURCE_DEFINITIONS:
            self._withdraw(last)
        self._commits.add(Change("DELETED", resource.key, namespace, Stored(last), before))
        return last

    def _serve(self, definition: Obj) -> None:
        spec = definition["spec"]
        self.catalog.remove(group=spec["group"], plural=spec["names"]["plural"])
        for resource in crds.resources_of(definition):
            self.catalog.add(resource)

    def _withdraw(self, definition: Obj) -> None:
        """A definition takes its objects along."""
        for resource in crds.resources_of(definition)[:1]:
            for obj in self.list(resource):
                self._remove(resource, obj)
        spec = definition["spec"]
        self.catalog.remove(group=spec["group"], plural=spec["names"]["plural"])


def _decode(resource: Resource, obj: Obj, unknown: UnknownFields | None) -> None:
    paths = decoding.decode(resource, obj)
    if paths and unknown is not None:
        unknown(paths)

"""All objects of the cluster: kept in memory, written through to the store, and told of.

    write -> memory + open transaction -> end of this turn of the event loop: commit, then tell watches, subscribers

The resourceVersion is one global sequence. An object is encoded once per change; lists, watches and the disk share the
bytes. The kinds that are served (`catalog`) follow the CustomResourceDefinitions among the objects.
"""

from collections.abc import Callable, Iterator, Mapping

from clusters.embedded import crds
from clusters.embedded.commits import Commits
from clusters.embedded.errors import NotFound
from clusters.embedded.journal import Callback, Change, Journal, Stored, Watch
from clusters.embedded.resources import BUILT_IN, CUSTOM_RESOURCE_DEFINITIONS, Catalog, Obj, Resource
from clusters.embedded.selectors import Selector
from clusters.embedded.store import Store


class Objects:
    """What is, and being told of it; changes come from the verbs of `Registry`."""

    def __init__(self, store: Store) -> None:
        self.catalog = Catalog(BUILT_IN)
        self._store = store
        self._revision = store.revision()
        self._tables: dict[str, dict[tuple[str, str], Stored]] = {}
        self._load()
        self._journal = Journal(start=self._revision)
        self._commits = Commits(store, journal=self._journal)

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

    def all_stored(
        self, resource: Resource, namespace: str | None = None, *, revision: int | None = None
    ) -> Iterator[Stored]:
        """What `list` gives, with the encoded bytes; as it was at `revision`, if that is still known (else Gone)."""
        table: Mapping[tuple[str, str], Stored] = self._tables.get(resource.key, {})
        if revision is not None and revision < self._revision:
            self.flush()
            table = self._journal.rewind(table, key=resource.key, revision=revision)
        for place in sorted(table):
            if not namespace or place[0] == namespace:
                yield table[place]

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

    # --- For the registry -------------------------------------------------------------------------

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

    def _load(self) -> None:
        for key, body in self._store.objects():
            obj = crds.decode(body)
            metadata = obj["metadata"]
            place = (metadata.get("namespace", ""), metadata["name"])
            self._tables.setdefault(key, {})[place] = Stored(obj, body=body)
        for definition in self.list(CUSTOM_RESOURCE_DEFINITIONS):
            self._serve(definition)

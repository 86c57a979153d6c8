"""Server-side apply, and who owns what after any write (pure).

`merge` puts an applied configuration into the live object:

    live + applied              merged: maps by field, lists by their keys, the rest replaced
    - (owned once - applied)    what this manager owned, no longer applies, and nobody else owns: removed
    conflict                    a field with another value that another manager owns: refused with the
                                owner's name, or taken over when forced; equal values are shared

`track_update` does the bookkeeping for every other write: what changed belongs to the writer.
A manager is known by name, operation (Apply or Update) and subresource, so `scale` has an owner of
its own. An object never tracked before belongs, field by field, to "before-first-apply".
"""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from clusters.embedded.errors import ApiError, BadRequest, Conflict
from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.ownership import (
    NO_FIELDS,
    Fields,
    Owner,
    Path,
    covers,
    item_step,
    keys_of,
    read,
    shown,
    times_of,
    values,
    write,
)
from clusters.embedded.resources import Obj, Resource, copied
from clusters.embedded.schemas.kinds import shape_of
from clusters.embedded.schemas.shapes import Shape

_BEFORE: Final = "before-first-apply"


def track_update(
    resource: Resource, old: Obj | None, new: Obj, *, manager: str, subresource: str, now: datetime
) -> None:
    """Bring `new`'s managedFields up to date, in place, after a write that was not an apply.

    Without a manager nothing is recorded, but whoever loses a field loses its ownership.
    """
    shape = shape_of(resource)
    entries = new["metadata"].get("managedFields")
    if entries is None and old is not None:
        entries = old["metadata"].get("managedFields")
    if not manager and not entries:
        return
    owners, times = read(entries or ()), times_of(entries or ())
    before = {} if old is None else values(_written(resource, old, subresource), shape)
    after = values(_written(resource, new, subresource), shape)
    changed = frozenset(p for p, value in after.items() if p not in before or before[p] != value)
    removed = frozenset(p for p in before if p not in after)
    if not changed and not removed:
        return
    writer = Owner(manager, "Update", resource.api_version, subresource)
    owners = {o: f - removed - (changed if o != writer else NO_FIELDS) for o, f in owners.items()}
    if manager and changed:
        owners[writer] = owners.get(writer, NO_FIELDS) | changed
        times[writer] = rfc3339(now)
    _put(new, write(owners, times=times))


def merge(
    resource: Resource,
    old: Obj | None,
    applied: Obj,
    *,
    manager: str,
    force: bool,
    subresource: str,
    now: datetime,
) -> Obj:
    """The live object with `applied` merged in and managedFields to match. Raises Conflict."""
    shape = shape_of(resource)
    applied = _writable(resource, applied, subresource=subresource)
    live: Obj = {} if old is None else old
    entries = live.get("metadata", {}).get("managedFields") or []
    owners, times = read(entries), times_of(entries)
    before = values(live, shape) if live else {}
    if live and not owners:
        creator = Owner(_BEFORE, "Update", resource.api_version)
        owners = {creator: frozenset(_without_status(before) if resource.has_status else before)}
        times = {creator: live["metadata"].get("creationTimestamp", rfc3339(now))}
    applier = Owner(manager, "Apply", resource.api_version, subresource)
    last, fields = owners.get(applier, NO_FIELDS), frozenset(values(applied, shape))
    owners[applier] = fields
    merged: Obj = _merge(copied(live), applied, shape)
    _prune(merged, last - fields, owners.values(), shape)
    after = values(merged, shape)
    owners = _settle(resource, live, owners, applier, before=before, after=after, force=force)
    if owners[applier] != last or before != after:
        times[applier] = rfc3339(now)
    _put(merged, write(owners, times=times))
    return merged


def _writable(resource: Resource, applied: Obj, *, subresource: str) -> Obj:
    """Only what this endpoint writes is applied, and so owned: status by itself, or all but status."""
    if subresource == "status":
        kept = ("apiVersion", "kind", "status")
        metadata = {k: v for k, v in applied["metadata"].items() if k in ("name", "namespace")}
        return {**{k: applied[k] for k in kept if k in applied}, "metadata": metadata}
    return {k: v for k, v in applied.items() if k != "status" or not resource.has_status}


def _written(resource: Resource, obj: Obj, subresource: str) -> Obj:
    """The part of an object that this way of writing can change, and so own."""
    if not resource.has_status:
        return obj
    if subresource == "status":
        return {"status": obj["status"]} if "status" in obj else {}
    return {name: value for name, value in obj.items() if name != "status"}


def _without_status(found: dict[Path, Any]) -> dict[Path, Any]:
    return {path: value for path, value in found.items() if path[0] != "f:status"}


def _settle(
    resource: Resource,
    live: Obj,
    owners: dict[Owner, Fields],
    applier: Owner,
    *,
    before: dict[Path, Any],
    after: dict[Path, Any],
    force: bool,
) -> dict[Owner, Fields]:
    """Owners after the merge; raises Conflict when others' fields changed and it is not forced."""
    changed = frozenset(p for p, value in after.items() if p not in before or before[p] != value)
    removed = frozenset(p for p in before if p not in after)
    conflicts = [
        (owner, path)
        for owner, fields in owners.items()
        if owner != applier
        for path in sorted(fields & changed)
        if path in before or covers(fields, path)
    ]
    if conflicts and not force:
        raise _conflict(resource, live, conflicts)
    return {owner: fields if owner == applier else fields - changed - removed for owner, fields in owners.items()}


def _conflict(resource: Resource, live: Obj, conflicts: list[tuple[Owner, Path]]) -> ApiError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f"conflict with {owner}",
            "field": shown(path),
        }
        for owner, path in conflicts
    ]
    if len(conflicts) == 1:
        text = f"1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines = []
        for owner in sorted({owner for owner, _ in conflicts}, key=str):
            lines.append(f"conflicts with {owner}:")
            lines += [f"- {shown(path)}" for other, path in conflicts if other == owner]
        text = f"{len(conflicts)} conflicts: " + "\n".join(lines)
    del resource, live
    return Conflict(f"Apply failed with {text}", details={"causes": causes})


def _put(obj: Obj, entries: list[Obj]) -> None:
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


# --- Merging ----------------------------------------------------------------------------------------


def _merge(live: Any, applied: Any, shape: Shape) -> Any:
    if isinstance(applied, dict) and not shape.atomic:
        result = dict(live) if isinstance(live, dict) else {}
        for name, value in applied.items():
            result[name] = _merge(result.get(name), value, shape.field(name))
        return result
    if isinstance(applied, list) and (shape.keys or shape.is_set):
        return _merge_list(live if isinstance(live, list) else [], applied, shape)
    return copied(applied)


def _merge_list(live: list[Any], applied: list[Any], shape: Shape) -> list[Any]:
    wanted = _by_step(applied, shape)
    result = []
    for item in live:
        change = wanted.pop(item_step(item, shape), None)
        result.append(item if change is None or not shape.keys else _merge(item, change, shape.items()))
    return result + [_merge(None, item, shape.items()) for item in wanted.values()]


def _by_step(items: list[Any], shape: Shape) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        if shape.keys and len(keys_of(item, shape)) < len(shape.keys):
            raise BadRequest(f"an item of a list lacks its key ({', '.join(shape.keys)}): {json.dumps(item)}")
        step = item_step(item, shape)
        if step in found:
            raise BadRequest(f"a list has two items with the same key: {step[2:]}")
        found[step] = item
    return found


def _prune(merged: Obj, gone: Fields, owners: Iterable[Fields], shape: Shape) -> None:
    """Remove from `merged` what nobody wants any more. Deepest first, then what became empty."""
    kept = frozenset().union(*owners)
    for path in sorted(gone, key=len, reverse=True):
        if covers(kept, path):
            continue
        _remove(merged, path, shape, kept)


def _remove(merged: Obj, path: Path, shape: Shape, kept: Fields) -> None:
    """Remove the thing at `path`, and the maps it leaves empty; an item's keys stay while it stays."""
    places: list[tuple[Any, Shape]] = [(merged, shape)]
    for step in path[:-1]:
        container, shape = places[-1]
        inner, inner_shape = _enter(container, step, shape)
        if inner is None:
            return
        places.append((inner, inner_shape))
    if len(path) > 1 and path[-2].startswith("k:") and path[-1][2:] in json.loads(path[-2][2:]):
        return
    _delete(*places[-1], step=path[-1])
    for depth in range(len(path) - 1, 0, -1):
        inner, _ = places[depth]
        if inner or covers(kept, path[:depth]):
            return
        _delete(*places[depth - 1], step=path[depth - 1])


def _enter(container: Any, step: str, shape: Shape) -> tuple[Any, Shape]:
    if step.startswith("f:"):
        inner = container.get(step[2:]) if isinstance(container, dict) else None
        return inner, shape.field(step[2:])
    items = container if isinstance(container, list) else []
    return next((i for i in items if item_step(i, shape) == step), None), shape.items()


def _delete(container: Any, shape: Shape, *, step: str) -> None:
    if step.startswith("f:") and isinstance(container, dict):
        container.pop(step[2:], None)
    elif isinstance(container, list):
        container[:] = [item for item in container if item_step(item, shape) != step]

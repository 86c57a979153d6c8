"""Which HAProxy backend ("slot") serves which deployment.

HAProxy 2.8 cannot add backends while it runs, so empty ones are made beforehand, in classes that differ
only in how long a request may wait for a free replica (`timeout queue` is fixed per backend). A slot's
name tells its class: `q500-0007` is the seventh slot whose callers wait at most 500 ms.

    free ──assign──> serving ──release──> resting ──(rest is over, HAProxy reports it empty)──> free

A released slot rests before it is given to another deployment: a request may have read the old map entry
and still be on its way into it. All decisions are pure; the table is written to disk beside HAProxy's
maps, so that a new control process adopts what HAProxy runs instead of guessing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

SlotOwner = tuple[str, str, str]  # namespace, endpoint, deployment

WAIT_CLASSES: Final = (100, 500, 1000, 2000, 5000, 15000, 60000)  # milliseconds


class NoFreeSlotError(Exception):
    """Every slot of a wait class is taken: HAProxy must be reloaded with more of them."""

    def __init__(self, wait_ms: int) -> None:
        super().__init__(f"no free slot in the wait class of {wait_ms} ms")
        self.wait_ms = wait_ms


def wait_class(wait_ms: int, *, classes: Iterable[int] = WAIT_CLASSES) -> int:
    """The class for a longest wait: the next one up, or the longest there is."""
    ordered = sorted(classes)
    return next((c for c in ordered if c >= wait_ms), ordered[-1])


def slot_name(*, wait_ms: int, number: int) -> str:
    """`q500-0007` for the seventh slot of the 500 ms class."""
    return f"q{wait_ms}-{number:04d}"


def slot_wait_ms(slot: str) -> int:
    """The wait class (milliseconds) a slot's name tells."""
    return int(slot[1:].split("-", 1)[0])


@dataclass(frozen=True)
class SlotTable:
    """Slots per wait class, their owners, and since when (unix seconds) released ones rest."""

    sizes: Mapping[int, int] = field(default_factory=dict)  # wait class (ms) -> slots made in HAProxy
    owners: Mapping[str, SlotOwner] = field(default_factory=dict)  # slot -> owner
    resting: Mapping[str, float] = field(default_factory=dict)  # slot -> released at

    def lookup(self, slot: str) -> SlotOwner | None:
        """Who a slot serves now: (namespace, endpoint, deployment)."""
        return self.owners.get(slot)

    def find(self, owner: SlotOwner) -> str | None:
        """The slot that serves `owner` now."""
        return next((slot for slot, other in self.owners.items() if other == owner), None)

    def names(self) -> list[str]:
        """Every slot HAProxy has, by class and number."""
        return [
            slot_name(wait_ms=wait, number=number)
            for wait in sorted(self.sizes)
            for number in range(1, self.sizes[wait] + 1)
        ]

    def assign(self, owner: SlotOwner, *, wait_ms: int) -> "tuple[SlotTable, str]":
        """The table with a free slot of the right class given to `owner`, and the slot.

        Raises NoFreeSlotError. An owner that holds a slot of another class gets a second one; the caller
        releases the first when nothing is left in it.
        """
        chosen = wait_class(wait_ms, classes=self.sizes)
        for number in range(1, self.sizes[chosen] + 1):
            slot = slot_name(wait_ms=chosen, number=number)
            if slot not in self.owners and slot not in self.resting:
                return replace(self, owners={**self.owners, slot: owner}), slot
        raise NoFreeSlotError(chosen)

    def release(self, slot: str, *, now: float) -> "SlotTable":
        """The table with `slot` taken from its owner and resting."""
        owners = {s: o for s, o in self.owners.items() if s != slot}
        return replace(self, owners=owners, resting={**self.resting, slot: now})

    def wake(self, *, now: float, rest_seconds: float, empty: Iterable[str]) -> "SlotTable":
        """The table with those resting slots free again that rested long enough and that HAProxy calls empty."""
        awake = {s for s in empty if s in self.resting and now - self.resting[s] >= rest_seconds}
        if not awake:
            return self
        return replace(self, resting={s: t for s, t in self.resting.items() if s not in awake})

    def grow(self, *, wait_ms: int) -> "SlotTable":
        """The table with the slots of one class doubled (at least 8); HAProxy needs a reload to have them."""
        return replace(self, sizes={**self.sizes, wait_ms: max(8, 2 * self.sizes.get(wait_ms, 0))})

    def to_json(self) -> str:
        """The table as the text that lies on disk."""
        sizes = {str(wait): count for wait, count in self.sizes.items()}
        data = {"sizes": sizes, "owners": dict(self.owners), "resting": dict(self.resting)}
        return json.dumps(data, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "SlotTable":
        """The table from disk; raises ValueError for anything else."""
        try:
            data = json.loads(text)
            owners = {str(s): (str(o[0]), str(o[1]), str(o[2])) for s, o in data["owners"].items()}
            sizes = {int(wait): int(count) for wait, count in data["sizes"].items()}
            return cls(sizes=sizes, owners=owners, resting={s: float(t) for s, t in data["resting"].items()})
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"not a slot table: {error!r}") from error

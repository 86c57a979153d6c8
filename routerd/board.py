"""What the observing parts of one router share: the meter writes it, the scaler, the status and the admin API read it.

It belongs to a router, and whoever comes first makes it (`board_of`), so that the parts start in any order and none of
them has to know the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

from routerd.control import Router
from routerd.meter import LoadMeter
from routerd.samples import Decision, History
from routerd.slots import SlotOwner


@dataclass
class Board:
    """Loads, samples and decisions of one router, and who leads."""

    history: History = field(default_factory=History)
    meter: LoadMeter = field(default_factory=LoadMeter)
    asked: Mapping[SlotOwner, int] = field(default_factory=dict)  # spec.replicas where the workload is known
    last_decision: dict[SlotOwner, Decision] = field(default_factory=dict)
    keys_used: Mapping[tuple[str, str, str], float] = field(default_factory=dict)  # see key_use
    leading: bool = False  # this router scales and writes status


_BOARDS: Final[WeakKeyDictionary[Router, Board]] = WeakKeyDictionary()


def board_of(router: Router) -> Board:
    """The board of this router, always the same one."""
    return _BOARDS.setdefault(router, Board())

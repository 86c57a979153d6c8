"""What may be done next about an Operation that has ended, as its page offers it.

The page of an Operation belongs to the kit, which knows neither deployments nor clusters. An app that starts Operations
of a kind says here what can follow one: go to a page, or send a form, after a question where harm is possible.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from studio.access import includes
from studio.models import Operation, Role


@dataclass(frozen=True)
class Offer:
    """A button: a link to `url`, or, with `fields`, a form sent there. `question` is asked before it is sent."""

    name: str  # an id on the page
    label: str
    url: str
    icon: str = ""
    primary: bool = False
    fields: Mapping[str, str] | None = None
    question: str = ""
    harm: str = ""  # the sentence below the question
    keep: str = "Keep it"


Offers = Callable[[Operation], Sequence[Offer]]
_offers: dict[str, Offers] = {}


def register_offers(kind: str, *, offers: Offers) -> None:
    """`offers` of Operations of this kind, asked once they have ended. Called from AppConfig.ready()."""
    _offers[kind] = offers


def offers_for(op: Operation, *, role: Role) -> Sequence[Offer]:
    """What the page of `op` offers a member with `role`; nothing to readers and while it is under way."""
    find = _offers.get(op.kind)
    return find(op) if find and op.finished and includes(role, Role.DATA_SCIENTIST) else ()

"""What may be done next about an Operation that has ended, as its page offers it.

The page of an Operation belongs to the kit, which knows neither deployments nor clusters. An app that starts Operations
of a kind says here what can follow one: go to a page, or send a form, after a question where harm is possible.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from django.utils.module_loading import import_string

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
_offers: dict[str, str] = {}


def register_offers(kind: str, *, offers: str) -> None:
    """`offers` of Operations of this kind, asked once they have ended. Called from AppConfig.ready().

    The function by its dotted path: it is imported when it is first asked, so that a start does not wait for it.
    """
    _offers[kind] = offers


def offers_for(op: Operation, *, role: Role) -> Sequence[Offer]:
    """What the page of `op` offers a member with `role`; nothing to readers and while it is under way."""
    path = _offers.get(op.kind)
    if path is None or not op.finished or not includes(role, Role.DATA_SCIENTIST):
        return ()
    find: Offers = import_string(path)
    return find(op)

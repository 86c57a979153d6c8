"""The live line: "this changed", told to the pages that look on.

    recorder, service, task --notify(topic)--> (on commit) group of the channel layer --> /live --> page refetches

A topic is "<prefix>-<id>". It never carries what changed: the page asks for its region again, so there is one renderer
and one permission check. Apps say who may listen with `register_topic`; an unknown prefix is refused.
"""

import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.db import transaction

from studio.layer import LoopBoundLayer
from studio.models import LogStream, Membership, Operation

log = structlog.get_logger(__name__)

Allowed = Callable[[User, str], bool]
_topics: dict[str, Allowed] = {}
_senders = ThreadPoolExecutor(
    max_workers=1, thread_name_prefix="live"
)  # used with Redis only; starts with the first use


def register_topic(prefix: str, *, allowed: Allowed) -> None:
    """Let pages listen to "<prefix>-<id>" when `allowed(user, id)` says so. Called from AppConfig.ready()."""
    _topics[prefix] = allowed


def may_listen(user: User, topic: str) -> bool:
    """Whether `user` may hear of changes of `topic`; never raises for a topic somebody made up."""
    prefix, _, rest = topic.partition("-")
    allowed = _topics.get(prefix)
    if allowed is None or not rest:
        return False
    try:
        return allowed(user, rest)
    except (ValueError, TypeError, OverflowError):  # an id that cannot be one
        return False


def group_of(topic: str) -> str:
    """The channel layer's group of a topic."""
    return f"live.{topic}"


def notify(topic: str, *, up_to: int | None = None) -> None:
    """Tell listening pages that `topic` changed, once the current transaction is committed. Never raises."""
    transaction.on_commit(
        lambda: send_to_group(group_of(topic), {"type": "live.changed", "topic": topic, "up_to": up_to})
    )


def send_to_group(group: str, message: dict[str, Any]) -> None:
    """Send now, from any thread. A failure is logged: pages refetch when they reconnect, nothing is lost but time."""
    layer = get_channel_layer()
    try:
        if isinstance(layer, LoopBoundLayer):
            layer.post(group, message)
        elif layer is not None:
            # A thread of its own: the caller may itself run in an event loop, where async_to_sync refuses.
            _senders.submit(async_to_sync(layer.group_send), group, message).add_done_callback(_log_failure)
    except Exception:
        log.exception("Live message not sent", group=group)


def _log_failure(sent: Future[Any]) -> None:
    if error := sent.exception():
        log.error("Live message not sent", error=str(error))


def _member_of(user: User, workspace_id: int) -> bool:
    return Membership.objects.filter(user=user, workspace_id=workspace_id).exists()


def may_hear_workspace(user: User, rest: str) -> bool:
    """workspace-<id>-endpoints and its like: members only."""
    return _member_of(user, int(rest.partition("-")[0]))


def may_hear_operation(user: User, rest: str) -> bool:
    """operation-<uuid>: members of its workspace."""
    return Operation.objects.filter(pk=uuid.UUID(rest), workspace__memberships__user=user).exists()


def may_hear_log(user: User, rest: str) -> bool:
    """log-<stream id>: members of its workspace."""
    return LogStream.objects.filter(pk=int(rest), workspace__memberships__user=user).exists()

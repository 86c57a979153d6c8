"""Rotating keys: the old value stops on every router within a second, and the Operation ends when it has."""

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from deployments.models import Endpoint, EndpointKey
from deployments.services.busy import refuse_deleting
from deployments.services.endpoints import make_key, subject_of
from deployments.services.traffic import ROUTER_STEPS
from routerd.contract import key_hash
from studio.actor import Actor
from studio.errors import FieldErrors
from studio.live import notify
from studio.models import Operation
from studio.services.audit import record
from studio.services.operations import start_operation


def rotate_key(endpoint: Endpoint, *, name: str, actor: Actor) -> tuple[EndpointKey, Operation]:
    """A new value for the key `name` ("primary", "secondary"). Raises FieldErrors (name) and BusyError."""
    with transaction.atomic():
        endpoint = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        refuse_deleting(endpoint)
        key = EndpointKey.objects.filter(endpoint=endpoint, name=name).first()
        if key is None:
            raise FieldErrors({"name": [f"Must be a key of {endpoint}; there is no {name}."]})
        key.value, key.created_at, key.last_used_at = make_key(), timezone.now(), None
        key.sha256 = key_hash(key.value)
        key.save()
        Endpoint.objects.filter(pk=endpoint.pk).update(key_revision=F("key_revision") + 1)
        endpoint.refresh_from_db(fields=["key_revision"])
        record(
            actor,
            workspace=endpoint.workspace,
            action="key.rotate",
            subject=subject_of(endpoint),
            after={"key": name, "key_revision": endpoint.key_revision},
        )
        notify(f"endpoint-{endpoint.pk}")
        operation = start_operation(
            endpoint.workspace,
            kind="rotate-key",
            title=f"Rotate {name} key of {endpoint}",
            subject=subject_of(endpoint),
            task="deployments.tasks.routing.advance",
            steps=ROUTER_STEPS,
            actor=actor,
            params={"endpoint": endpoint.pk, "key": name, "key_revision": endpoint.key_revision},
        )
    return key, operation

"""Who we are in clusters: the UUID of this studio, on every object it makes."""

from django.db import transaction

from studio.models import Installation


def studio_uuid() -> str:
    """The UUID of this studio; made at the first call, the same ever after."""
    found = Installation.objects.order_by("created_at").first()
    if found is None:
        with transaction.atomic():
            found = Installation.objects.select_for_update().order_by("created_at").first()
            found = found or Installation.objects.create()
    return str(found.pk)

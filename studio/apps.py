from django.apps import AppConfig


class StudioConfig(AppConfig):
    name = "studio"
    verbose_name = "Studio"

    def ready(self) -> None:
        # Models and settings exist only from here on.
        from django.db.models.signals import post_delete, post_save

        from studio import live
        from studio.models import Membership
        from studio.sockets import session

        live.register_topic("workspace", allowed=live.may_hear_workspace)
        live.register_topic("operation", allowed=live.may_hear_operation)
        live.register_topic("log", allowed=live.may_hear_log)
        post_save.connect(session.look_again_after_membership, sender=Membership)
        post_delete.connect(session.look_again_after_membership, sender=Membership)

from django.apps import AppConfig


class DeploymentsConfig(AppConfig):
    name = "deployments"
    verbose_name = "Deployments"

    def ready(self) -> None:
        # Models exist only from here on.
        from deployments.access import may_hear_deployment, may_hear_endpoint
        from studio.live import register_topic
        from studio.offers import register_offers

        register_topic("endpoint", allowed=may_hear_endpoint)
        register_offers("deploy", offers="deployments.offers.offers_after_rollout")
        register_topic("deployment", allowed=may_hear_deployment)

from django.apps import AppConfig


class ClustersConfig(AppConfig):
    name = "clusters"
    verbose_name = "Clusters"

    def ready(self) -> None:
        # Models exist only from here on.
        from clusters.access import may_hear_cluster
        from studio.live import register_topic

        register_topic("cluster", allowed=may_hear_cluster)

"""Addresses of clusters, compute targets and instance types, below /w/<workspace>/."""

from django.urls import path

from clusters.views import clusters, instance_types, router, targets

app_name = "clusters"
urlpatterns = [
    path("clusters/", clusters.cluster_list, name="cluster-list"),
    path("clusters/attach", clusters.attach, name="cluster-attach"),
    path("clusters/slipway-account.yaml", clusters.account, name="cluster-account"),
    path("clusters/<slug:name>/", clusters.cluster_detail, name="cluster"),
    path("clusters/<slug:name>/check", clusters.check, name="cluster-check"),
    path("clusters/<slug:name>/detach", clusters.detach, name="cluster-detach"),
    path("clusters/<slug:name>/router", router.router_settings, name="cluster-router"),
    path("clusters/<slug:name>/router/uninstall", router.uninstall, name="cluster-router-uninstall"),
    path("compute-targets/", targets.target_list, name="target-list"),
    path("compute-targets/new", targets.target_create, name="target-create"),
    path("compute-targets/<slug:name>/delete", targets.target_delete, name="target-delete"),
    path("instance-types/", instance_types.instance_type_list, name="instance-type-list"),
    path("instance-types/new", instance_types.instance_type_create, name="instance-type-create"),
    path("instance-types/<slug:cluster>/<slug:name>/", instance_types.instance_type_edit, name="instance-type"),
    path(
        "instance-types/<slug:cluster>/<slug:name>/delete",
        instance_types.instance_type_delete,
        name="instance-type-delete",
    ),
]

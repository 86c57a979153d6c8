"""Addresses below /w/<workspace>/: endpoints with their tabs, models, environments."""

from django.urls import path

from deployments.views import deploy, endpoint, endpoints, environments, history, invoke, keys, logs, metrics, models

app_name = "deployments"

_ENDPOINT = "endpoints/<slug:endpoint>"
_DEPLOYMENT = f"{_ENDPOINT}/deployments/<slug:deployment>"

urlpatterns = [
    path("endpoints/", endpoints.endpoint_list, name="endpoint-list"),
    path("endpoints/new", endpoints.endpoint_create, name="endpoint-create"),
    path(f"{_ENDPOINT}/", endpoint.endpoint, name="endpoint"),
    path(f"{_ENDPOINT}/delete", endpoints.endpoint_delete, name="endpoint-delete"),
    path(f"{_ENDPOINT}/logs/", logs.endpoint_logs, name="endpoint-logs"),
    path(f"{_ENDPOINT}/test/", invoke.try_endpoint, name="endpoint-test"),
    path(f"{_ENDPOINT}/consume/", keys.consume, name="endpoint-consume"),
    path(f"{_ENDPOINT}/keys/<slug:key>/show", keys.show_key, name="key-show"),
    path(f"{_ENDPOINT}/keys/<slug:key>/rotate", keys.rotate, name="key-rotate"),
    path(f"{_ENDPOINT}/metrics/", metrics.endpoint_metrics, name="endpoint-metrics"),
    path(f"{_ENDPOINT}/metrics/figures", metrics.figures, name="endpoint-figures"),
    path(f"{_ENDPOINT}/history/", history.endpoint_history, name="endpoint-history"),
    path(f"{_ENDPOINT}/deployments/new", deploy.deployment_create, name="deployment-create"),
    path(f"{_DEPLOYMENT}/edit", deploy.deployment_edit, name="deployment-edit"),
    path(f"{_DEPLOYMENT}/again", deploy.deployment_again, name="deployment-again"),
    path(f"{_DEPLOYMENT}/delete", deploy.deployment_delete, name="deployment-delete"),
    path("models/", models.model_list, name="model-list"),
    path("models/new", models.model_create, name="model-create"),
    path("models/<str:name>/<int:version>/", models.model, name="model"),
    path("environments/", environments.environment_list, name="environment-list"),
    path("environments/new", environments.environment_create, name="environment-create"),
    path("environments/<str:name>/<int:version>/", environments.environment, name="environment"),
]

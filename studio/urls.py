"""Every address of the studio. What belongs to a workspace lies under /w/<workspace>/."""

from django.urls import URLPattern, URLResolver, include, path

from deployments.api import api
from studio.views import audit, logs, members, operations, people

in_workspace = [
    path("operations/", operations.operation_list, name="operation-list"),
    path("operations/<uuid:operation_id>/", operations.operation_page, name="operation"),
    path("operations/<uuid:operation_id>/cancel", operations.cancel_operation, name="operation-cancel"),
    path("logs/<int:stream_id>.txt", logs.download_log, name="log-download"),
    path("nav", operations.nav, name="nav"),
    path("people/", members.member_list, name="member-list"),
    path("people/<int:user_id>/role", members.change_role, name="member-role"),
    path("people/<int:user_id>/remove", members.remove, name="member-remove"),
    path("audit/", audit.audit_list, name="audit-list"),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", people.home, name="home"),
    path("sign-in", people.sign_in, name="sign-in"),
    path("sign-out", people.sign_out, name="sign-out"),
    path("w/<slug:workspace>/", people.workspace_home, name="workspace"),
    path("w/<slug:workspace>/", include((in_workspace, "studio"), namespace="studio")),
    path("w/<slug:workspace>/", include("clusters.urls")),
    path("w/<slug:workspace>/", include("deployments.urls")),
    path("api/v1/", api.urls),
]

handler400 = "studio.views.errors.bad_request"
handler403 = "studio.views.errors.forbidden"
handler404 = "studio.views.errors.not_found"
handler500 = "studio.views.errors.broken"

"""Deploying: the form and the YAML of a new deployment or a new revision, and the end of one.

The form posts one of four wishes: deploy, check (the same without doing it), size (how many do I need?) and take (put
that number into the form). Uploaded code is packed before anything is judged, so that no error loses it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from deployments import access, services
from deployments.forms.deployment import (
    CODE,
    DEFAULTS,
    deployment_fields,
    deployment_mapping,
    kept_settings,
    read_yaml,
    values_of,
    write_yaml,
)
from deployments.forms.uploads import read_uploads
from deployments.models import Artifact, Deployment, Endpoint, Environment, Model
from deployments.regions.deployments import spec_of
from deployments.regions.room import answer_fit, size_choices
from deployments.regions.sizing import read_sizing
from deployments.services.deployments import find_parts
from deployments.specs import DeploymentSpec, parse_deployment
from studio.actor import Actor, actor_of
from studio.errors import FieldErrors
from studio.forms import Field, Form, read_values
from studio.htmx import redirect, render_page
from studio.models import Role


@dataclass(frozen=True)
class _Draft:
    """What is on the page: what is deployed where, what was typed, what is wrong with it."""

    endpoint: Endpoint
    deployment: Deployment | None
    values: Mapping[str, str]
    yaml: str = ""
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    checked: DeploymentSpec | None = None
    code: Artifact | None = None


@require_http_methods(["GET", "POST"])
def deployment_create(request: HttpRequest, workspace: str, endpoint: str) -> HttpResponse:
    """A new deployment behind an endpoint."""
    found = access.endpoint_for(request, workspace, endpoint, role=Role.DATA_SCIENTIST)
    return _answer(request, _Draft(endpoint=found, deployment=None, values=DEFAULTS))


@require_http_methods(["GET", "POST"])
def deployment_edit(request: HttpRequest, workspace: str, endpoint: str, deployment: str) -> HttpResponse:
    """The next revision of a deployment."""
    found = access.endpoint_for(request, workspace, endpoint, role=Role.DATA_SCIENTIST)
    edited = access.deployment_for(found, deployment)
    spec = spec_of(edited)
    draft = _Draft(
        endpoint=found,
        deployment=edited,
        values=values_of(edited.spec),
        yaml=write_yaml(spec) if spec else "",
        code=edited.code,
    )
    return _answer(request, draft)


@require_POST
def deployment_again(request: HttpRequest, workspace: str, endpoint: str, deployment: str) -> HttpResponse:
    """What an earlier revision asked for, once more; what stands in its way is said beside the form."""
    found = access.endpoint_for(request, workspace, endpoint, role=Role.DATA_SCIENTIST)
    asked, number = access.deployment_for(found, deployment), request.POST.get("revision", "")
    if not (number.isascii() and number.isdigit() and len(number) < 9):
        raise Http404("This is not the number of a revision.")
    try:
        operation = services.deploy_again(asked, revision=int(number), actor=actor_of(request))
    except FieldErrors as errors:
        url = reverse("deployments:deployment-edit", args=[workspace, endpoint, deployment])
        return redirect(request, url, text=f"Revision {number} cannot be deployed now. {errors.message}", state="fail")
    return redirect(request, reverse("studio:operation", args=[workspace, operation.pk]))


@require_POST
def deployment_delete(request: HttpRequest, workspace: str, endpoint: str, deployment: str) -> HttpResponse:
    """Delete a deployment; it must have no traffic."""
    found = access.endpoint_for(request, workspace, endpoint, role=Role.DATA_SCIENTIST)
    operation = services.delete_deployment(access.deployment_for(found, deployment), actor=actor_of(request))
    return redirect(request, reverse("studio:operation", args=[workspace, operation.pk]))


def _answer(request: HttpRequest, draft: _Draft) -> HttpResponse:
    fields = _fields(draft.endpoint)
    if request.method == "GET":
        return _render(request, draft, fields=fields)
    by_yaml = "yaml" in request.POST
    typed, code, upload_errors = _read_typed(request, draft, fields=fields)
    wish = request.POST.get("wish", "deploy")
    if wish in ("size", "take") and not upload_errors:
        return _render(request, _with(draft, typed, code=code), fields=fields)
    try:
        if upload_errors:
            raise FieldErrors(upload_errors)
        spec = _read_spec(draft, typed, code=code, by_yaml=by_yaml)
        if wish == "check":
            find_parts(draft.endpoint, spec=spec)
            return _render(request, _with(draft, typed, code=code, checked=spec), fields=fields)
        _, operation = services.deploy(draft.endpoint, spec=spec, actor=actor_of(request))
    except FieldErrors as errors:
        return _render(request, _with(draft, typed, code=code, errors=errors.errors), fields=fields, status=422)
    return redirect(request, reverse("studio:operation", args=[draft.endpoint.workspace.name, operation.pk]))


def _fields(endpoint: Endpoint) -> tuple[Field, ...]:
    return deployment_fields(
        models=Model.objects.filter(workspace=endpoint.workspace).order_by("name", "-version"),
        environments=Environment.objects.filter(workspace=endpoint.workspace).order_by("name", "-version"),
        sizes=size_choices(endpoint.target.cluster),
    )


def _read_typed(
    request: HttpRequest, draft: _Draft, *, fields: tuple[Field, ...]
) -> tuple[dict[str, str], Artifact | None, dict[str, list[str]]]:
    """What was typed, the code (new or kept), and what is wrong with the upload."""
    typed = read_values(request.POST, fields=fields) | {"yaml": request.POST.get("yaml", "").replace("\r\n", "\n")}
    if draft.deployment is not None:
        typed["name"] = draft.deployment.name
    if request.POST.get("wish") == "take":
        typed |= _taken(request)
    digest = request.POST.get("code_digest", "")
    kept = draft.endpoint.workspace.artifacts.filter(digest=digest).first() if len(digest) == 64 else None
    uploads = read_uploads(request, field=CODE)
    if not uploads:
        return typed, kept, {}
    try:
        return typed, _pack(draft.endpoint, uploads=uploads, actor=actor_of(request)), {}
    except FieldErrors as errors:
        return typed, kept, {CODE: [sentence for said in errors.errors.values() for sentence in said]}


def _pack(endpoint: Endpoint, *, uploads: Sequence[Any], actor: Actor) -> Artifact:
    return services.pack_code(endpoint.workspace, files=uploads, actor=actor)


def _taken(request: HttpRequest) -> dict[str, str]:
    sizing = _sizing(request)
    if sizing is None:
        return {}
    return {"scale_settings.min_instances": str(sizing.replicas), "scale_settings.max_instances": str(sizing.most)}


def _sizing(request: HttpRequest) -> Any:
    post = request.POST
    return read_sizing(
        rps=post.get("sizing_rps", ""),
        each_ms=post.get("sizing_ms", ""),
        target=post.get("scale_settings.target_utilization_percentage", ""),
        concurrency=post.get("request_settings.max_concurrent_requests_per_instance", ""),
    )


def _read_spec(draft: _Draft, typed: Mapping[str, str], *, code: Artifact | None, by_yaml: bool) -> DeploymentSpec:
    if by_yaml:
        data = read_yaml(typed["yaml"])
        data.setdefault("endpoint_name", draft.endpoint.name)
        if draft.deployment is not None and data.get("name") != draft.deployment.name:
            raise FieldErrors({"name": [f"Must be {draft.deployment.name}: this is its next revision."]})
    else:
        values = {path: value for path, value in typed.items() if path != "yaml"}
        kept = kept_settings(draft.deployment.spec if draft.deployment else None)
        data = deployment_mapping(values, endpoint=draft.endpoint.name, kept=kept)
    return parse_deployment(data, code_digest=code.digest if code else "")


def _with(draft: _Draft, typed: Mapping[str, str], **changes: Any) -> _Draft:
    return _Draft(
        **{
            "endpoint": draft.endpoint,
            "deployment": draft.deployment,
            "values": {**draft.values, **{path: value for path, value in typed.items() if path != "yaml"}},
            "yaml": typed["yaml"] or draft.yaml,
            **changes,
        }
    )


def _render(request: HttpRequest, draft: _Draft, *, fields: tuple[Field, ...], status: int = 200) -> HttpResponse:
    by_yaml = "yaml" in (request.POST or request.GET)
    shown = (Field("yaml", "YAML", kind="textarea"), *(f for f in fields if f.path == CODE)) if by_yaml else fields
    cluster = draft.endpoint.target.cluster
    choices = size_choices(cluster)
    wanted = draft.values.get("scale_settings.min_instances", "1")
    running = draft.deployment is not None
    context = {
        "workspace": draft.endpoint.workspace,
        "endpoint": draft.endpoint,
        "deployment": draft.deployment,
        "form": Form(shown, values={**draft.values, "yaml": draft.yaml}, errors=draft.errors),
        "by_yaml": by_yaml,
        "code": draft.code,
        "sizes": choices,
        "size": draft.values.get("instance_type", ""),
        "fit": answer_fit(
            choices,
            instance_type=draft.values.get("instance_type", ""),
            # A new revision starts beside the old one, one replica more at a time.
            replicas=max(1, int(wanted)) if not running and re.fullmatch("[0-9]{1,5}", wanted) else 1,
            cluster=cluster.name,
        ),
        "sizing": _sizing(request) if request.method == "POST" else None,
        "sizing_rps": request.POST.get("sizing_rps", ""),
        "sizing_ms": request.POST.get("sizing_ms", ""),
        "checked": draft.checked,
    }
    return render_page(request, "deployments/deployment_form.html", context, status=status)

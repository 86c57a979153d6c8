"""What the API says of endpoints, deployments and operations: plain values from the same regions as the pages."""

from typing import Any

from deployments.models import Endpoint
from deployments.regions.deployments import DeploymentRow
from deployments.regions.endpoint import EndpointHead
from deployments.regions.endpoints import EndpointRow
from deployments.regions.truth import Truth
from studio.models import Operation

Json = dict[str, Any]


def truth_json(truth: Truth) -> Json:
    """The sentence, and where it stands."""
    return {"state": truth.word, "group": truth.group, "sentence": f"{truth.strong} {truth.rest}".strip()}


def row_json(row: EndpointRow) -> Json:
    """An endpoint in the list."""
    return {
        "name": row.name,
        "compute": row.target,
        "cluster": row.cluster,
        "requests_per_second": row.rps,
        "p95_ms": row.p95_ms,
        "not_answered": row.not_answered,
        "replicas_ready": row.ready,
        "replicas_wanted": row.wanted,
        **truth_json(row.truth),
    }


def endpoint_json(endpoint: Endpoint, *, head: EndpointHead) -> Json:
    """An endpoint, in Azure ML's shape where it has one."""
    return {
        "name": endpoint.name,
        "description": endpoint.description,
        "tags": endpoint.tags,
        "auth_mode": endpoint.auth_mode,
        "compute": head.target,
        "traffic": endpoint.traffic,
        "mirror_traffic": endpoint.mirror,
        "scoring_uri": head.uri,
        "created_at": endpoint.created_at,
        "operations": [each.id for each in head.operations],
        **truth_json(head.truth),
    }


def deployment_json(row: DeploymentRow) -> Json:
    """A deployment: what is asked for, and what is so."""
    return {
        "name": row.name,
        "revision": row.revision,
        "state": row.label,
        "sentence": row.sentence,
        "traffic": row.share,
        "mirror": row.mirror,
        "replicas_ready": row.ready,
        "replicas_wanted": row.wanted,
        "replicas": [{"name": cell.name, "state": cell.state, "text": cell.text} for cell in row.seen.replicas],
        "in_flight": row.in_flight,
        "queued": row.queued,
        "slots": row.slots,
        "p95_ms": row.p95_ms,
        "cause": row.seen.cause or None,
        "spec": row.written,
        "updated_at": row.updated_at,
    }


def operation_json(operation: Operation) -> Json:
    """What a change became."""
    return {
        "id": str(operation.pk),
        "kind": operation.kind,
        "title": operation.title,
        "state": operation.state,
        "summary": operation.summary,
        "created_at": operation.created_at,
        "finished_at": operation.finished_at,
        "cause": {"name": operation.cause_name, "text": operation.cause_text, "proof": operation.cause_proof}
        if operation.cause_name
        else None,
    }

"""Kube: one API server's verbs, on plain JSON objects.

Everything is synchronous and thread-safe. Objects go in and come out as dictionaries exactly as the server has them.
What the studio wants is applied (server-side apply, field manager `slipway`): the server keeps track of which
fields are ours, so that others' fields, such as a replica count routerd owns, stay theirs.
"""

import json
import threading
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from clusters.kube.connection import Connection
from clusters.kube.errors import NotFound, ServerFailed, error_of, read_status
from clusters.kube.kinds import DEPLOYMENTS, PODS, SERVICES, Kind, Obj, Objects, kind_of, label_of
from clusters.kube.transport import READ_SECONDS, Answer, Stream, Transport
from routerd.contract import FIELD_MANAGER

ProxyResponse = Answer
_PAGE = 500


class Kube:
    """One API server. Every method raises a KubeError that names object, cause and next step."""

    def __init__(self, connection: Connection) -> None:
        self.server = connection.server
        self._transport = Transport(connection)

    # --- Reading ------------------------------------------------------------------------------

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Obj:
        """One object. Raises NotFound."""
        return self._json("GET", kind.path(name, namespace=namespace), subject=kind.label(name, namespace=namespace))

    def find(self, kind: Kind, name: str, namespace: str | None = None) -> Obj | None:
        """One object, or None when it (or its kind) is not there."""
        try:
            return self.get(kind, name, namespace)
        except NotFound:
            return None

    def list(
        self, kind: Kind, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> Objects:
        """All objects, of one namespace or (None) of all; read in pages."""
        return self.list_with_version(kind, namespace, label_selector=label_selector, field_selector=field_selector)[0]

    def list_with_version(
        self, kind: Kind, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[Objects, str]:
        """All objects, and the resourceVersion a watch goes on from. Raises Gone when the list aged between pages."""
        where = f" in {namespace}" if namespace else ""
        query = {"limit": str(_PAGE)} | _given(labelSelector=label_selector, fieldSelector=field_selector)
        found: Objects = []
        while True:
            path = f"{kind.path(namespace=namespace)}?{urlencode(query)}"
            page = self._json("GET", path, subject=f"List of {kind.plural}{where}")
            meta = page.get("metadata") or {}
            found += [{"apiVersion": kind.api_version, "kind": kind.kind} | item for item in page.get("items") or []]
            if not meta.get("continue"):
                return found, str(meta.get("resourceVersion") or "")
            query["continue"] = meta["continue"]

    def version(self) -> str:
        """The server's version: `v1.33.2`."""
        return str(self._json("GET", "/version", subject="Version of the API server").get("gitVersion") or "")

    def stream(self, path: str, *, subject: str, stop: threading.Event, quiet: float) -> Stream:
        """A GET whose answer goes on (watches, logs). End it with `end_stream`."""
        return self._transport.stream(path, subject=subject, stop=stop, quiet=quiet)

    def end_stream(self, stream: Stream) -> None:
        self._transport.forget(stream)

    def read_text(self, path: str, *, subject: str) -> str:
        """The body of a GET that is not JSON (a pod's log so far)."""
        answer = self._transport.send("GET", path, subject=subject, headers={"Accept": "*/*"})
        if not 200 <= answer.status < 300:
            raise error_of(answer.status, body=answer.body, subject=subject)
        return answer.body.decode(errors="replace")

    # --- Writing ------------------------------------------------------------------------------

    def apply(self, obj: Obj, *, dry_run: bool = False, manager: str = FIELD_MANAGER) -> Obj:
        """Server-side apply, by force: fields in `obj` become ours, fields we applied before and left out go."""
        kind, meta = kind_of(obj), obj["metadata"]
        query = {"fieldManager": manager, "force": "true"} | _given(dryRun="All" if dry_run else "")
        path = f"{kind.path(meta['name'], namespace=meta.get('namespace'))}?{urlencode(query)}"
        return self._json("PATCH", path, subject=label_of(obj), body=obj, content="application/apply-patch+yaml")

    def create(self, obj: Obj) -> Obj:
        """Create; raises Conflict when it is there already."""
        kind, meta = kind_of(obj), obj.get("metadata") or {}
        path = f"{kind.path(namespace=meta.get('namespace'))}?{urlencode({'fieldManager': FIELD_MANAGER})}"
        return self._json("POST", path, subject=label_of(obj), body=obj)

    def merge(self, kind: Kind, name: str, namespace: str | None = None, *, patch: Obj) -> Obj:
        """JSON merge patch."""
        path = f"{kind.path(name, namespace=namespace)}?{urlencode({'fieldManager': FIELD_MANAGER})}"
        subject = kind.label(name, namespace=namespace)
        return self._json("PATCH", path, subject=subject, body=patch, content="application/merge-patch+json")

    def patch_scale(self, namespace: str, name: str, replicas: int, *, manager: str = FIELD_MANAGER) -> Obj:
        """Set the replicas of a workload through its scale subresource, as `manager`."""
        path = f"{DEPLOYMENTS.path(name, namespace=namespace)}/scale?{urlencode({'fieldManager': manager})}"
        return self._json(
            "PATCH",
            path,
            subject=f"Scale of {DEPLOYMENTS.label(name, namespace=namespace)}",
            body={"spec": {"replicas": replicas}},
            content="application/merge-patch+json",
        )

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None = None,
        *,
        propagation: str = "Background",
        missing_ok: bool = True,
        grace_seconds: int | None = None,
        uid: str | None = None,
    ) -> None:
        """Delete; `uid` makes sure it is still the object that was looked at (Conflict otherwise)."""
        options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        subject = kind.label(name, namespace=namespace)
        try:
            self._json("DELETE", kind.path(name, namespace=namespace), subject=subject, body=options)
        except NotFound:
            if not missing_ok:
                raise

    # --- Through the API server to a pod --------------------------------------------------------

    def pod_proxy(
        self,
        namespace: str,
        pod: str,
        port: int,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 10,
    ) -> ProxyResponse:
        """One HTTP request to a port of a pod. The pod's own statuses come back as they are; see `_proxy`."""
        root = f"{PODS.path(f'{pod}:{port}', namespace=namespace)}/proxy"
        subject = f"Port {port} of {PODS.label(pod, namespace=namespace)}"
        return self._proxy(root, path, subject=subject, method=method, headers=headers, body=body, timeout=timeout)

    def service_proxy(
        self,
        namespace: str,
        service: str,
        port: int,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 10,
    ) -> ProxyResponse:
        """One HTTP request to a port of a Service."""
        root = f"{SERVICES.path(f'{service}:{port}', namespace=namespace)}/proxy"
        subject = f"Port {port} of {SERVICES.label(service, namespace=namespace)}"
        return self._proxy(root, path, subject=subject, method=method, headers=headers, body=body, timeout=timeout)

    def _proxy(
        self,
        root: str,
        path: str,
        *,
        subject: str,
        method: str,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        timeout: float,
    ) -> ProxyResponse:
        """A `Status` object in an error answer was written by the API server, not by the pod: raised as KubeError."""
        answer = self._transport.send(
            method,
            root + quote(path, safe="/?&=%:,~+-._"),
            subject=subject,
            body=body,
            headers={"Accept": "*/*"} | dict(headers or {}),
            timeout=timeout,
        )
        if answer.status >= 400 and read_status(answer.body):
            raise error_of(answer.status, body=answer.body, subject=subject)
        return answer

    # --- Inside ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close every connection; streams that are being read end."""
        self._transport.close()

    def _json(
        self, method: str, path: str, *, subject: str, body: Obj | None = None, content: str = "application/json"
    ) -> Obj:
        answer = self._transport.send(
            method,
            path,
            subject=subject,
            body=None if body is None else json.dumps(body).encode(),
            headers={} if body is None else {"Content-Type": content},
            timeout=READ_SECONDS,
        )
        if not 200 <= answer.status < 300:
            raise error_of(answer.status, body=answer.body, subject=subject)
        return _object(answer, subject=subject)


def _object(answer: Answer, *, subject: str) -> Obj:
    try:
        found = json.loads(answer.body)
    except ValueError as error:
        raise ServerFailed(
            subject,
            cause="the answer is not JSON, so this is no Kubernetes API server",
            next_step="Check the address in the kubeconfig.",
        ) from error
    if not isinstance(found, dict):
        raise ServerFailed(subject, cause="the answer is not an object, so this is no Kubernetes API server")
    return found


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}

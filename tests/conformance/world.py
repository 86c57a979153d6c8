"""What the conformance tests speak to a cluster with: any user's requests, waited-for states, small objects.

A `Caller` is one user of the cluster. It sends plain requests through the official client's connections, so every
kind of kubeconfig works, and the tests see codes, headers and bytes as they are. `Place` is a namespace with one
caller's view of it; paths are written as they are on the wire.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

import urllib3
from kubernetes import client as official

Obj = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
WAIT = 60.0  # seconds; a real cluster pulls images
LOOK = 0.1


class Answer(NamedTuple):
    code: int
    body: Any  # JSON, or text
    headers: Mapping[str, str]

    @property
    def message(self) -> str:
        return str(self.body["message"])


class Caller:
    """One user. `ask` returns whatever comes; the other methods insist on success."""

    def __init__(self, configuration: official.Configuration) -> None:
        self.configuration = configuration
        self.api = official.ApiClient(configuration)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        accept: str = "application/json",
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        raw = None if body is None else json.dumps(body).encode()
        return self.ask_raw(method, path, raw, kind=kind, accept=accept, query=query, headers=headers)

    def ask_raw(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        kind: str = "application/json",
        accept: str = "application/json",
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """With the body as it is to be on the wire."""
        response = self._send(method, path, body, kind, accept, query, headers)
        text = response.data.decode()
        is_json = "json" in response.headers.get("Content-Type", "")
        return Answer(response.status, json.loads(text) if is_json and text else text, response.headers)

    @contextmanager
    def stream(self, path: str, **query: Any) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The code and the lines of an answer that goes on."""
        response = self._send("GET", path, None, "", "application/json", query, None, preload=False)
        try:
            yield response.status, _lines(response)
        finally:
            response.close()

    @contextmanager
    def answer(self, path: str, **query: Any) -> Iterator[tuple[int, Iterator[Obj]]]:
        with self.stream(path, **query) as (code, lines):
            yield code, map(json.loads, lines)

    @contextmanager
    def watch(self, path: str, **query: Any) -> Iterator[Iterator[Obj]]:
        with self.answer(path, watch="true", **{"timeoutSeconds": 30, **query}) as (code, events):
            assert code == 200, list(events)
            yield events

    def get(self, path: str, **query: Any) -> Any:
        return _good(self.ask("GET", path, query=query))

    def create(self, path: str, body: Obj, **query: Any) -> Any:
        return _good(self.ask("POST", path, body, query=query))

    def update(self, path: str, body: Obj, **query: Any) -> Any:
        return _good(self.ask("PUT", path, body, query=query))

    def patch(self, path: str, body: Any, *, kind: str = MERGE, **query: Any) -> Any:
        return _good(self.ask("PATCH", path, body, kind=kind, query=query))

    def delete(self, path: str, body: Obj | None = None, **query: Any) -> Any:
        return _good(self.ask("DELETE", path, body, query=query))

    def apply(self, path: str, body: Obj, *, manager: str, **query: Any) -> Any:
        return _good(self.try_apply(path, body, manager=manager, **query))

    def try_apply(self, path: str, body: Obj, *, manager: str, **query: Any) -> Answer:
        return self.ask("PATCH", path, body, kind=APPLY, query={"fieldManager": manager, **query})

    def until(self, path: str, true: Callable[[Any], Any], *, seconds: float = WAIT) -> Any:
        """The object at `path` (or the list), once it is as wanted."""
        end = time.monotonic() + seconds
        while True:
            found = self.ask("GET", path)
            if found.code == 200 and true(found.body):
                return found.body
            assert time.monotonic() < end, f"{path} did not become as wanted: {json.dumps(found.body)[:3000]}"
            time.sleep(LOOK)

    def until_gone(self, path: str, *, seconds: float = WAIT) -> None:
        end = time.monotonic() + seconds
        while (found := self.ask("GET", path)).code != 404:
            assert time.monotonic() < end, f"{path} is still there: {json.dumps(found.body)[:3000]}"
            time.sleep(LOOK)

    def may(self, verb: str, resource: str, *, namespace: str = "") -> bool:
        """Whether an access review allows it; `resource` is plural[/subresource][.group]."""
        named, _, group = resource.partition(".")
        plural, _, part = named.partition("/")
        wanted = {"verb": verb, "resource": plural, "subresource": part, "group": group, "namespace": namespace}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self.create(path, {"spec": {"resourceAttributes": wanted}})["status"]["allowed"])

    def until_allowed(self, verb: str, resource: str, *, namespace: str = "") -> None:
        """A new role takes a moment on a real cluster."""
        end = time.monotonic() + WAIT
        while not self.may(verb, resource, namespace=namespace):
            assert time.monotonic() < end, f"may not {verb} {resource}"
            time.sleep(LOOK)

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        kind: str,
        accept: str,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        *,
        preload: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        sent = {"Accept": accept, "User-Agent": "slipway-conformance/1"}
        auth = self.configuration.auth_settings().get("BearerToken")
        if auth and auth["value"]:
            sent["authorization"] = auth["value"]
        if body is not None:
            sent["Content-Type"] = kind
        url = f"{self.configuration.host}{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        pool: urllib3.PoolManager = self.api.rest_client.pool_manager
        return pool.request(
            method,
            url,
            body=body,
            headers={**sent, **(headers or {})},
            preload_content=preload,
            timeout=urllib3.Timeout(connect=10, read=60),
            retries=False,
        )


def _good(answer: Answer) -> Any:
    assert answer.code in (200, 201, 202), answer.body
    return answer.body


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    rest = b""
    for chunk in response.stream(65536, decode_content=True):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


@dataclass(frozen=True)
class Place:
    """A namespace of the test's own, and who works in it."""

    name: str
    caller: Caller
    image: str

    def path(self, kind: str, name: str = "") -> str:
        """`pods`, `apps/v1/deployments`, `apps/v1/deployments/web/scale` ..."""
        *group, plural = kind.split("/")
        root = "/apis/" + "/".join(group) if group else "/api/v1"
        return f"{root}/namespaces/{self.name}/{plural}" + (f"/{name}" if name else "")

    def deployment(self, name: str, *, replicas: int = 1, **spec: Any) -> Obj:
        template = spec.pop("template", None) or self.template(name)
        body = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template, **spec}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}

    def template(self, name: str, **container: Any) -> Obj:
        return {"metadata": {"labels": {"app": name}}, "spec": self.pod(name, **container)["spec"]}

    def pod(self, name: str, *, run: str = "exec sleep 1000", spec: Obj | None = None, **container: Any) -> Obj:
        """A pod of one container that keeps every rule of the restricted profile and ends quickly."""
        main = {
            "name": "main",
            "image": self.image,
            "command": ["sh", "-c", run],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            **container,
        }
        secure = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
        body = {"terminationGracePeriodSeconds": 1, "securityContext": secure, "containers": [main], **(spec or {})}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": body,
        }

    def run(self, name: str, **more: Any) -> Obj:
        made: Obj = self.caller.create(self.path("pods"), self.pod(name, **more))
        return made

    def pods(self, app: str = "") -> list[Obj]:
        query = {"labelSelector": f"app={app}"} if app else {}
        found: list[Obj] = self.caller.get(self.path("pods"), **query)["items"]
        return found

    def until_phase(self, name: str, phase: str) -> Obj:
        """The pod, once it is in this phase."""
        found: Obj = self.caller.until(
            self.path("pods", name), lambda pod: (pod.get("status") or {}).get("phase") == phase
        )
        return found

    def until_ready(self, name: str) -> Obj:
        found: Obj = self.caller.until(self.path("pods", name), is_ready)
        return found

    def until_available(self, name: str, *, replicas: int) -> Obj:
        """The Deployment, once exactly this many pods, all of the latest template, are available."""

        def true(found: Obj) -> bool:
            status = found.get("status") or {}
            counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
            return status.get("observedGeneration") == found["metadata"]["generation"] and counts == [replicas] * 3

        made: Obj = self.caller.until(self.path("apps/v1/deployments", name), true)
        return made

    def events(self, name: str) -> list[Obj]:
        """About the object of this name."""
        query = {"fieldSelector": f"involvedObject.name={name}"}
        found: list[Obj] = self.caller.get(self.path("events"), **query)["items"]
        return found

    def until_event(self, name: str, reason: str, *, says: str = "") -> Obj:
        end = time.monotonic() + WAIT
        while True:
            events = self.events(name)
            for event in events:
                if event["reason"] == reason and says in event["message"]:
                    return event
            assert time.monotonic() < end, [(event["reason"], event["message"]) for event in events]
            time.sleep(LOOK)


def is_ready(pod: Obj) -> bool:
    return condition(pod, "Ready") == "True"


def condition(obj: Obj, kind: str) -> str:
    """True, False, Unknown; empty when there is no such condition."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((each["status"] for each in conditions if each["type"] == kind), "")


def config(name: str, *, labels: Mapping[str, str] | None = None, **data: str) -> Obj:
    metadata = {"name": name} | ({"labels": dict(labels)} if labels else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def names(found: Obj) -> list[str]:
    """Of the items of a list."""
    return [item["metadata"]["name"] for item in found["items"]]

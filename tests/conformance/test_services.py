"""Services: who is behind them, how they are reached from inside, and through the API server."""

import socket
import time
import urllib.parse
import urllib.request
from typing import Any

import pytest

from tests.conformance.conftest import Cluster
from tests.conformance.world import LOOK, WAIT, Obj, Place

SERVER = """
import http.server, os, threading
go = threading.Event()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/go":
            go.set()
        self.send_response(200)
        self.end_headers()
        if self.path == "/slow":
            self.wfile.write(b"first\\n")
            if go.wait(60):
                self.wfile.write(b"second\\n")
            return
        self.wfile.write((os.environ["NAME"] + " " + self.path).encode())
    def do_POST(self):
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size)
        self.send_response(201)
        self.send_header("X-Own", "yes")
        self.end_headers()
        self.wfile.write(body[::-1])
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer((os.environ["IP"], 8080), Handler).serve_forever()
"""
SLICES = "discovery.k8s.io/v1/endpointslices"


def server(**container: Any) -> Obj:
    """A container that answers on port 8080 with its pod's name, ready when it does."""
    env = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    return {
        "command": ["python3", "-c", SERVER],
        "env": env,
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 1},
        **container,
    }


def service(name: str = "web", **spec: Any) -> Obj:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {"metadata": {"name": name}, "spec": {"selector": {"app": "web"}, "ports": ports, **spec}}


@pytest.fixture
def web(place: Place) -> Place:
    """A pod `web` that serves, behind a Service of the same name."""
    place.caller.create(place.path("services"), service())
    place.run("web", **server())
    place.until_ready("web")
    until_endpoints(place, ready=1)
    return place


def endpoints(place: Place, name: str = "web") -> list[Obj]:
    found = place.caller.get(place.path(SLICES), labelSelector=f"kubernetes.io/service-name={name}")
    return [each for item in found["items"] for each in item.get("endpoints") or ()]


def until_endpoints(place: Place, *, ready: int, name: str = "web") -> list[Obj]:
    def true(_: Any) -> bool:
        return sum(1 for each in endpoints(place, name) if each["conditions"].get("ready")) == ready

    place.caller.until(place.path(SLICES), true)
    return endpoints(place, name)


def test_a_service_gets_an_address_of_the_clusters_and_its_defaults(place: Place) -> None:
    made = place.caller.create(place.path("services"), service())["spec"]
    assert made["type"] == "ClusterIP"
    assert made["clusterIP"] == made["clusterIPs"][0] != "None"
    assert made["ports"][0]["protocol"] == "TCP"
    assert made["sessionAffinity"] == "None"
    changed = place.caller.ask(
        "PATCH",
        place.path("services", "web"),
        {"spec": {"clusterIP": "10.0.0.250"}},
        kind="application/merge-patch+json",
    )
    assert changed.code == 422


def test_only_ready_pods_are_behind_a_service(place: Place) -> None:
    place.caller.create(place.path("services"), service())
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    place.run("idle", readinessProbe=probe)
    place.caller.patch(place.path("pods", "idle"), {"metadata": {"labels": {"app": "web"}}})
    place.caller.until(place.path(SLICES), lambda _: len(endpoints(place)) == 1)
    assert endpoints(place)[0]["conditions"]["ready"] is False
    pod = place.run("web", **server())
    until_endpoints(place, ready=1)
    both = {each["targetRef"]["name"]: each for each in endpoints(place)}
    assert both["web"]["targetRef"]["uid"] == pod["metadata"]["uid"]
    assert both["web"]["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert both["web"]["nodeName"]


def test_a_pod_that_ends_leaves_the_service_at_once(web: Place) -> None:
    web.caller.patch(web.path("services", "web"), {"metadata": {"labels": {"a": "b"}}})
    web.caller.delete(web.path("pods", "web"), gracePeriodSeconds=5)
    until_endpoints(web, ready=0)


def test_a_slice_tells_port_and_address(web: Place) -> None:
    found = web.caller.get(web.path(SLICES), labelSelector="kubernetes.io/service-name=web")["items"]
    (piece,) = found
    assert piece["addressType"] == "IPv4"
    assert [(each["name"], each["port"], each["protocol"]) for each in piece["ports"]] == [("http", 8080, "TCP")]
    pod = web.caller.get(web.path("pods", "web"))
    assert piece["endpoints"][0]["addresses"] == [pod["status"]["podIP"]]
    (owner,) = piece["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Service", "web")


def test_a_service_is_called_by_name_from_another_pod(web: Place) -> None:
    run = f"""
import time, urllib.request
for host in ("web.{web.name}.svc", "web.{web.name}.svc.cluster.local"):
    for _ in range(50):
        try:
            print(urllib.request.urlopen(f"http://{{host}}/hello", timeout=5).read().decode(), flush=True)
            break
        except OSError:
            time.sleep(0.2)
"""
    web.run("caller", command=["python3", "-c", run], spec={"restartPolicy": "Never"})
    web.until_phase("caller", "Succeeded")
    assert web.caller.ask("GET", web.path("pods", "caller/log")).body.splitlines() == ["web /hello"] * 2


def test_a_headless_service_has_endpoints_and_no_address(place: Place) -> None:
    made = place.caller.create(place.path("services"), service("quiet", clusterIP="None"))
    assert made["spec"]["clusterIP"] == "None"
    place.run("web", **server())
    until_endpoints(place, ready=1, name="quiet")


def test_node_ports_and_load_balancers_are_numbered(place: Place) -> None:
    ported = place.caller.create(place.path("services"), service("ported", type="NodePort"))
    assert 30000 <= ported["spec"]["ports"][0]["nodePort"] <= 32767
    balanced = place.caller.create(place.path("services"), service("balanced", type="LoadBalancer"))
    assert balanced["spec"]["ports"][0]["nodePort"]
    back = place.caller.patch(place.path("services", "ported"), {"spec": {"type": "ClusterIP"}})
    assert "nodePort" not in back["spec"]["ports"][0]


def answer_from_here(address: str, port: int) -> str:
    """What a Service says to a caller outside the cluster; empty when it cannot be reached."""
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/out", timeout=3) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def until_answered(addresses: list[str], port: int) -> str:
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        for address in addresses:
            if found := answer_from_here(address, port):
                return found
        time.sleep(LOOK)
    return ""


@pytest.mark.needs("list", "nodes")
def test_a_node_port_answers_from_outside_the_cluster(cluster: Cluster, web: Place) -> None:
    spec = web.caller.patch(web.path("services", "web"), {"spec": {"type": "NodePort"}})["spec"]
    ours = {"InternalIP", "ExternalIP"}
    known = [a["address"] for node in cluster.nodes() for a in node["status"]["addresses"] if a["type"] in ours]
    server_itself = str(urllib.parse.urlsplit(cluster.admin.configuration.host).hostname)
    found = until_answered([server_itself, *known], spec["ports"][0]["nodePort"])
    if not found and not cluster.embedded:
        pytest.skip("the nodes cannot be reached from here")
    assert found == "web /out"


def test_a_load_balancer_answers_from_outside_the_cluster(cluster: Cluster, web: Place) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ports = [{"name": "http", "port": port, "targetPort": "http"}]
    web.caller.create(web.path("services"), service("balanced", type="LoadBalancer", ports=ports))
    try:
        found = web.caller.until(
            web.path("services", "balanced"), lambda each: each["status"].get("loadBalancer", {}).get("ingress")
        )
    except AssertionError:
        if cluster.embedded:
            raise
        pytest.skip("the cluster has no load balancer")
    (ingress,) = found["status"]["loadBalancer"]["ingress"]
    assert until_answered([ingress.get("ip") or ingress["hostname"]], port) == "web /out"


def test_the_api_server_passes_requests_on_to_a_pod_and_a_service(web: Place) -> None:
    for path in (web.path("pods", "web:8080/proxy/a%20b?c=d"), web.path("services", "web:http/proxy/a%20b?c=d")):
        assert web.caller.ask("GET", path).body == "web /a%20b?c=d"
    sent = web.caller.ask("POST", web.path("services", "web:80/proxy/back"), "stressed")
    assert (sent.code, sent.body, sent.headers["X-Own"]) == (201, '"desserts"', "yes")


@pytest.mark.parametrize("target", ["pods/web:8080", "services/web:http"])
def test_the_api_server_passes_on_what_comes_while_it_comes(web: Place, target: str) -> None:
    """The pod says its second line only after the first one was seen here."""
    way = web.path(*target.split("/")) + "/proxy"
    with web.caller.stream(f"{way}/slow") as (code, lines):
        assert code == 200
        assert next(lines) == b"first"
        assert web.caller.ask("GET", f"{way}/go").code == 200
        assert next(lines) == b"second"
        assert list(lines) == []


def test_the_way_to_a_service_without_pods_is_503(place: Place) -> None:
    place.caller.create(place.path("services"), service())
    end = time.monotonic() + WAIT
    while (found := place.caller.ask("GET", place.path("services", "web:http/proxy/"))).code == 404:
        assert time.monotonic() < end  # a controller first has to look for its pods
        time.sleep(LOOK)
    assert (found.code, found.body["reason"]) == (503, "ServiceUnavailable")
    assert found.message == 'no endpoints available for service "web"'

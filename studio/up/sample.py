"""The sample endpoint: made at the first start, asked at every start until it answers.

When it has answered once, HOME/first-run.json remembers it: from then on nothing is made again, also if someone deleted
it since. A later start imports only what asking needs; making it needs half the house (studio.up.firstrun).
"""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import connection

from deployments.models import Endpoint
from studio.errors import SlipwayError
from studio.up.cluster import ClusterProcess
from studio.up.errors import CannotStartError
from studio.up.report import Answering, Report

if TYPE_CHECKING:
    from studio.up.firstrun import FirstRun

REQUEST = Path(__file__).resolve().parents[2] / "samples" / "iris" / "sample-request.json"
ANSWERS_WITHIN = 60.0  # seconds: at a restart the model needs a moment to load
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the router is on this machine


class Sample:
    """The sample of one home, looked after in a thread of its own."""

    def __init__(self, home: Path, *, cluster: ClusterProcess, router_port: int, report: Report) -> None:
        self._home, self._cluster, self._router_port, self._report = home, cluster, router_port, report
        self._marker = home / "first-run.json"
        self._first_run: FirstRun | None = None
        self._stopped = threading.Event()
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sample", daemon=True)

    def start(self) -> None:
        """Begin; what comes of it is told by the report."""
        self._thread.start()

    def wait_answered(self, timeout: float) -> None:
        """Return when a sample made at an earlier start answers, after `timeout` seconds at the latest.

        The first one is deployed by the tasks themselves, so nobody may wait for it.
        """
        if self._marker.exists():
            self._settled.wait(timeout)

    def stop(self) -> None:
        """Give up: the studio is ending."""
        self._stopped.set()
        self._settled.set()
        if self._first_run:
            self._first_run.stop()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def _work(self) -> None:
        started, remembered = time.monotonic(), self._marker.exists()
        try:
            endpoint = self._made_before() if remembered else self._make()
            if endpoint:
                self._report.answering(self._ask(endpoint, since=started))
                if not remembered:
                    self._remember(endpoint)
        except (CannotStartError, SlipwayError) as error:
            if not self._stopped.is_set():
                self._report.trouble(f"{error} The studio goes on; look at its Operations page.")
        finally:
            self._settled.set()
            connection.close()

    def _made_before(self) -> Endpoint | None:
        written = json.loads(self._marker.read_text())
        found = Endpoint.objects.filter(workspace__name=written["workspace"], name=written["endpoint"], deleting=False)
        return found.first()

    def _remember(self, endpoint: Endpoint) -> None:
        self._marker.write_text(json.dumps({"endpoint": endpoint.name, "workspace": endpoint.workspace.name}))

    def _make(self) -> Endpoint | None:
        from studio.up.firstrun import FirstRun

        self._first_run = FirstRun(
            self._home,
            cluster=self._cluster,
            router_port=self._router_port,
            report=self._report,
            stopped=self._stopped,
        )
        return None if self._stopped.is_set() else self._first_run.run()

    def _ask(self, endpoint: Endpoint, *, since: float) -> Answering:
        """Ask as a caller would, until a 200 comes. CannotStartError with the last answer when none does."""
        request = REQUEST.read_text().strip()
        key = endpoint.keys.get(name="primary").value
        uri = f"{endpoint.target.cluster.router_address}/api/v1/endpoint/{endpoint.name}/score"
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        end = time.monotonic() + ANSWERS_WITHIN
        while True:
            status, body = post(uri, headers=headers, body=request)
            if status == 200:
                return Answering(
                    scoring_uri=uri,
                    key=key,
                    request=request,
                    status=status,
                    prediction=json.loads(body),
                    deploy_seconds=round(time.monotonic() - since, 1),
                )
            if time.monotonic() > end or self._stopped.wait(0.1):
                raise CannotStartError(f"The sample endpoint {endpoint.name} does not answer: {status} {body[:200]}")


def post(uri: str, *, headers: dict[str, str], body: str) -> tuple[int, str]:
    """(status, body); status 0 and the reason when nobody answers."""
    request = urllib.request.Request(uri, data=body.encode(), headers=headers)  # noqa: S310 - our router's http address
    try:
        with DIRECTLY.open(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)

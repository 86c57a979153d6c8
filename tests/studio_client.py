"""A person with a browser, for tests: signs in, fills forms, waits on the live socket, reads the sentences on pages.

Speaks to a studio in another process through the same pages a person uses, so what passes here passes by hand.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from html import unescape
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import httpx
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

OPERATION = re.compile(r"/operations/([0-9a-f-]{36})/")
SHOWN_KEY = re.compile(r"<code>([A-Za-z0-9_-]{43})</code>")
TAGS = re.compile(r"<[^>]+>")
Json = dict[str, Any]
Told = TypeVar("Told")
Files = list[tuple[str, tuple[str, IO[bytes]]]]
FINAL = ("succeeded", "failed", "cancelled")


class FormError(AssertionError):
    """The studio showed the form again instead of going on."""


class StudioClient:
    """One signed-in person in the workspace `main`."""

    def __init__(self, address: str, *, user: str, password: str) -> None:
        self.address = address
        self._http = httpx.Client(base_url=address, timeout=30)
        self.submit("/sign-in", {"username": user, "password": password})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def page(self, path: str) -> str:
        """The HTML of a page of the workspace."""
        answer = self._http.get(f"/w/main/{path}", follow_redirects=True)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return answer.text

    def submit(self, path: str, data: dict[str, str], *, files: Files | None = None) -> str:
        """Post a form as the browser does; where it led to."""
        self._http.get(path)
        token = self._http.cookies.get("csrftoken", "")
        answer = self._http.post(
            path,
            data=data | {"csrfmiddlewaretoken": token},
            files=files or None,
            headers={"referer": self.address + path},
        )
        if answer.status_code != 302:
            raise FormError(f"{path} answered {answer.status_code}: {words(answer.text)[:1500]}")
        return answer.headers["location"]

    def form(self, path: str, data: dict[str, str], *, files: Files | None = None) -> str:
        """Post a form of the workspace; the id of the Operation it led to, or "" when it led elsewhere."""
        found = OPERATION.search(self.submit(f"/w/main/{path}", data, files=files))
        return found[1] if found else ""

    def deploy(self, endpoint: str, data: dict[str, str], *, code: Path, edit: str = "") -> str:
        """Fill the deployment form with a folder's score.py; the id of the Operation."""
        path = f"endpoints/{endpoint}/deployments/" + (f"{edit}/edit" if edit else "new")
        with (code / "score.py").open("rb") as script:
            return self.form(path, data, files=[("code_configuration.code", ("score.py", script))])

    def api(self, method: str, path: str, body: Json | None = None) -> Json:
        """The REST API of the workspace, as the same person."""
        headers = {"x-csrftoken": self._http.cookies.get("csrftoken", ""), "referer": self.address}
        answer = self._http.request(method, f"/api/v1/workspaces/main/{path}", json=body, headers=headers)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text[:1000]}"
        told: Json = answer.json()
        return told

    def make_endpoint(self, name: str) -> str:
        """Create an endpoint by the form; its primary key, as the Consume tab shows it."""
        self.form("endpoints/new", {"name": name, "compute": "local", "auth_mode": "key"})
        return self.show_key(name)

    def show_key(self, endpoint: str, key: str = "primary") -> str:
        """Press Show on the Consume tab."""
        path = f"/w/main/endpoints/{endpoint}/keys/{key}/show"
        answer = self._http.post(path, data={"csrfmiddlewaretoken": self._http.cookies.get("csrftoken", "")})
        found = SHOWN_KEY.search(answer.text)
        assert found, words(answer.text)[:1000]
        return found[1]

    def wait(self, operation: str, *, seconds: float = 120) -> Json:
        """Listen on the live socket until the Operation has ended; what the API says of it then."""
        with self._listen(f"operation-{operation}") as socket:
            end = time.monotonic() + seconds
            while (told := self.api("GET", f"operations/{operation}"))["state"] not in FINAL:
                left = end - time.monotonic()
                assert left > 0, f"not ended after {seconds} s: {told}"
                with suppress(TimeoutError):
                    socket.recv(timeout=left)
        return told

    def wait_deployment(
        self, endpoint: str, name: str, *, until: Callable[[Json], bool], seconds: float
    ) -> tuple[Json, float]:
        """Listen until what the studio says of a deployment fulfils `until`; it, and the seconds that took."""
        path = f"endpoints/{endpoint}/deployments/{name}"
        return self._wait_for(lambda: self.api("GET", path), until=until, seconds=seconds)

    def wait_page(self, path: str, *, until: Callable[[str], bool], seconds: float = 10) -> str:
        """Listen until a page fulfils `until`; its HTML."""
        return self._wait_for(lambda: self.page(path), until=until, seconds=seconds)[0]

    def _wait_for(
        self, look: Callable[[], Told], *, until: Callable[[Told], bool], seconds: float
    ) -> tuple[Told, float]:
        started = time.monotonic()
        with self._listen(f"workspace-{self._workspace_id()}-endpoints") as socket:
            while not until(told := look()):
                assert time.monotonic() - started < seconds, f"not so after {seconds} s: {str(told)[:3000]}"
                with suppress(TimeoutError):
                    socket.recv(timeout=0.5)  # a figure may change without an event
        return told, time.monotonic() - started

    def _workspace_id(self) -> str:
        found = re.search(r"workspace-(\d+)-", self.page("endpoints/"))
        assert found, "no live topic on the page"
        return found[1]

    @contextmanager
    def _listen(self, topic: str) -> Iterator[ClientConnection]:
        """The live socket, listening to `topic` from now on."""
        cookies = "; ".join(f"{name}={value}" for name, value in self._http.cookies.items())
        address = self.address.replace("http", "ws") + "/live"
        with connect(address, additional_headers={"Cookie": cookies}, origin=Origin(self.address)) as socket:
            socket.send(json.dumps({"subscribe": [topic]}))
            answer = json.loads(socket.recv(timeout=10))
            assert answer["topics"] == [topic], answer
            yield socket


def words(html: str) -> str:
    """The text of a piece of HTML, on one line."""
    return " ".join(unescape(TAGS.sub(" ", html)).split())

"""Programs that call an endpoint: a few at once, each as fast as it gets answers, every answer counted."""

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx


@dataclass
class Answers:
    """What the callers got: status -> count; a connection that failed counts under its error's name."""

    count: Counter[int | str] = field(default_factory=Counter)
    bodies: Counter[str] = field(default_factory=Counter)
    first_failure: str = ""

    @property
    def lost(self) -> dict[int | str, int]:
        """Everything but 200."""
        return {status: number for status, number in self.count.items() if status != 200}


class Callers:
    """`with Callers(uri, key=..., together=4) as callers: ...` keeps asking until the block ends."""

    def __init__(self, uri: str, *, key: str, together: int, body: str = "{}", pause: float = 0.0) -> None:
        self._uri = uri
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._together = together
        self._body = body
        self._pause = pause
        self._stopping = threading.Event()
        self._answered = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="callers")
        self.answers = Answers()
        self.started = 0.0

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def wait_for_answer(self, *, seconds: float = 10) -> None:
        """Return when a request has been answered since the last call of this."""
        self._answered.clear()
        assert self._answered.wait(seconds), f"no answer for {seconds} s: {self.answers}"

    async def _work(self) -> None:
        limits = httpx.Limits(max_connections=self._together)
        async with httpx.AsyncClient(limits=limits, timeout=30, headers=self._headers) as client:
            await asyncio.gather(*(self._ask(client) for _ in range(self._together)))

    async def _ask(self, client: httpx.AsyncClient) -> None:
        while not self._stopping.is_set():
            try:
                answer = await client.post(self._uri, content=self._body)
            except httpx.HTTPError as error:
                self._note(type(error).__name__, body=str(error))
            else:
                self._note(answer.status_code, body=answer.text)
            if self._pause:
                await asyncio.sleep(self._pause)

    def _note(self, status: int | str, *, body: str) -> None:
        self.answers.count[status] += 1
        if status == 200:
            self.answers.bodies[body] += 1
        elif not self.answers.first_failure:
            self.answers.first_failure = f"{status}: {body[:300]}"
        self._answered.set()

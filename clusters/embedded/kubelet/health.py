"""A container's health from its start to its end: postStart, then the startup probe, then readiness and liveness.

What fails ends the attempt, never the container: the restart policy decides whether there is another.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from clusters.embedded.kubelet import probes
from clusters.embedded.resources import Obj

if TYPE_CHECKING:
    from clusters.embedded.kubelet.container import ContainerWorker


class Health:
    """Watches one attempt."""

    def __init__(self, worker: "ContainerWorker", *, begun: bool) -> None:
        """``begun``: it had started before this kubelet did, and is not asked again."""
        self._worker = worker
        self._container = worker.container
        self._begun = begun
        self._dead = False

    async def watch(self) -> None:
        """Until cancelled at the container's end, or until a failure before the start has ended it."""
        if not self._begun and not (await self._post_start() and await self._start_up()):
            return
        worker = self._worker
        worker.started.set()
        readiness, liveness = self._container.get("readinessProbe"), self._container.get("livenessProbe")
        # Without a probe it is ready; an adopted one may be so already.
        worker.show(started=True, ready=worker.report.ready if readiness else True)
        async with asyncio.TaskGroup() as group:
            if readiness:
                ready = worker.report.ready
                group.create_task(self._follow("Readiness", readiness, verdict=ready, act=self._set_ready))
            if liveness:
                group.create_task(self._follow("Liveness", liveness, verdict=True, act=self._on_liveness))

    async def _post_start(self) -> bool:
        hook = (self._container.get("lifecycle") or {}).get("postStart")
        if not hook:
            return True
        outcome = await run_hook(hook, worker=self._worker)
        if not outcome.ok:
            message = f"PostStartHook failed: {outcome.message}"
            self._worker.pod.event(reason="FailedPostStartHook", message=message, warning=True)
            await self._worker.end_attempt("FailedPostStartHook")
        return outcome.ok

    async def _start_up(self) -> bool:
        probe = self._container.get("startupProbe")
        if not probe:
            return True
        self._worker.pod.publish()
        started = await self._follow("Startup", probe, verdict=False, act=lambda _: True)
        if not started:
            await self._worker.end_attempt("failed startup probe, will be restarted")
        return started

    async def _follow(self, kind: str, probe: Obj, *, verdict: bool, act: Callable[[bool], bool]) -> bool:
        """Look until ``act``, told each verdict, answers True; return the last verdict."""
        tally = probes.Tally(probes.ProbeSettings.of(probe), verdict=verdict)

        def judge(outcome: probes.Outcome) -> bool:
            if not outcome.ok and not self._worker.stopping:
                message = f"{kind} probe failed: {outcome.message}"
                self._worker.pod.event(reason="Unhealthy", message=message, warning=True)
            return (tally.count(outcome.ok) and act(tally.verdict)) or self._dead

        async def look() -> probes.Outcome:
            return await probes.look(probe, container=self._container, target=self._worker)

        await probes.repeat(probe, attempt=look, report=judge)
        return tally.verdict

    def _set_ready(self, ready: bool) -> bool:
        if ready != self._worker.report.ready and not self._worker.stopping:
            self._worker.show(ready=ready)
        return False

    def _on_liveness(self, alive: bool) -> bool:
        if not alive and not self._worker.stopping:
            self._dead = True
            # Not awaited here: the end of the process cancels this very watch.
            self._worker.pod.mind(
                asyncio.create_task(self._worker.end_attempt("failed liveness probe, will be restarted"))
            )
        return self._dead


async def run_hook(hook: Obj, *, worker: "ContainerWorker") -> probes.Outcome:
    """postStart or preStop, for at most the pod's grace."""
    if pause := hook.get("sleep"):
        await asyncio.sleep(float(pause.get("seconds") or 0))
        return probes.Outcome(True)
    settings = {"timeoutSeconds": max(worker.pod.grace_seconds, 1)}
    return await probes.look({**hook, **settings}, container=worker.container, target=worker)

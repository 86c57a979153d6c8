"""One container's life on this node, as one coroutine that reads from top to bottom.

    (adopt) -> image -> configuration -> start -> [started -> probes] -> exit -> restart? -> back-off -> image ...

Each start is an attempt directory ``DIR/pods/<uid>/containers/<name>/<n>``; its number is the restart count, so a
restarted kubelet knows it from disk. The first restart comes at once, later ones after the back-off, as a kubelet
does it. After a restart of the node itself nobody waits.
"""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clusters.embedded.images import Image
from clusters.embedded.kubelet import recipe
from clusters.embedded.kubelet.attempts import Attempts
from clusters.embedded.kubelet.environment import ConfigError
from clusters.embedded.kubelet.health import Health, run_hook
from clusters.embedded.kubelet.proc import descendants
from clusters.embedded.kubelet.process import ContainerProcess, ExecResult, Exit, StartError, is_alive, read_exit
from clusters.embedded.kubelet.pulling import duration, find_image
from clusters.embedded.kubelet.sockets import Listeners
from clusters.embedded.kubelet.start import make_spec, rewriter_of
from clusters.embedded.kubelet.status import CRASH_LOOP, ContainerReport, Running, Terminated, Waiting
from clusters.embedded.kubelet.termination import seconds_run
from clusters.embedded.kubelet.volumes import VolumeError
from clusters.embedded.resources import Obj

if TYPE_CHECKING:
    from clusters.embedded.kubelet.pod import PodWorker

log = logging.getLogger(__name__)

_CONFIG_RETRY_SECONDS: Final = 2.0


class ContainerWorker:
    """Runs one container of one pod. ``report`` is what the pod's status says of it."""

    def __init__(self, pod: "PodWorker", container: Obj, *, init: bool) -> None:
        self.pod = pod
        self.node = pod.node
        self.container = container
        self.name: str = container["name"]
        sidecar = init and container.get("restartPolicy") == "Always"
        self.report = ContainerReport(self.name, container["image"], init=init, sidecar=sidecar)
        if not init and pod.has_inits:
            self.report = self.report.with_state(Waiting("PodInitializing"))
        self._attempts = Attempts(pod.directory / "containers" / self.name, pod_uid=pod.uid, container=container)
        self._process: ContainerProcess | None = None
        self._crashes = 0
        self.stopping = False
        self._adopted_started = False
        self._kill_timer: asyncio.TimerHandle | None = None
        self._listeners = Listeners(pod.pids)
        self.started = asyncio.Event()

    # --- What others ask --------------------------------------------------------------------------

    @property
    def attempt(self) -> Path:
        return self._attempts.current

    def log_path(self, *, previous: bool) -> Path:
        return (self._attempts.previous if previous else self._attempts.current) / "log"

    async def attempt_over(self) -> None:
        """Return once the current attempt writes nothing any more; at once when none runs."""
        if process := self._living:
            await process.wait()

    @property
    def running(self) -> bool:
        return self._living is not None

    @property
    def _living(self) -> ContainerProcess | None:
        return None if self._process is None or self._process.exited else self._process

    @property
    def pod_ip(self) -> str:
        return self.pod.pod_ip

    def pids(self) -> set[int]:
        """Ids of the container's processes, as seen from outside."""
        return set() if self._process is None else {self._process.pid} | descendants(self._process.pid)

    def owns_listener(self, host: str, *, port: int) -> bool:
        """Whether host:port is served by this pod's processes."""
        return self._listeners.are_at(host, port=port)

    async def execute(self, argv: list[str], *, timeout_seconds: float) -> ExecResult:
        process = self._living
        if process is None:
            return ExecResult(-1, f"container {self.name} is not running")
        words = [rewriter_of(self)(word) for word in argv]
        return await process.execute(words, timeout_seconds=timeout_seconds)

    # --- Life -------------------------------------------------------------------------------------

    def recall(self, *, before: Obj) -> None:
        """Read from disk what was known before this kubelet started.

        ``before`` is what the pod's status said; of a container that still runs, being ready and started is
        believed until a probe says otherwise.
        """
        if self._attempts.number < 0:
            return
        changes = {"restart_count": self._attempts.number, "container_id": self._attempts.container_id}
        if is_alive(self.attempt):
            same = before.get("containerID") == self._attempts.container_id
            self._adopted_started = same and bool(before.get("started"))
            changes |= {"started": self._adopted_started, "ready": same and bool(before.get("ready"))}
            started_at = (before.get("state") or {}).get("running", {}).get("startedAt", "")
            self.report = self.report.with_state(Running(started_at), last=self._previous_end(), **changes)
        else:
            ended = self._attempts.told(read_exit(self.attempt)) if (self.attempt / "lock").exists() else None
            self.report = self.report.with_state(ended or self.report.state, **changes)

    async def adopt(self) -> None:
        """Take hold of a container that went on without a kubelet."""
        if self._attempts.number < 0:
            return
        self._process = await ContainerProcess.find(self.attempt)
        if self._process is not None:
            log.info("Adopted container pod=%s container=%s", self.pod.title, self.name)
            self.report = self.report.with_state(Running(self._process.started_at))
        elif isinstance(self.report.state, Running):  # it ended in between
            ended = self._attempts.told(read_exit(self.attempt))
            self.report = self.report.with_state(ended, ready=False, started=False)

    async def run(self) -> None:
        """Until the container is not to be started again."""
        after_reboot = True
        while not self.stopping:
            if not self.running:
                if not self._wanted(fresh=self._attempts.number < 0):
                    return
                if not after_reboot:
                    await self._back_off()
                if not await self._begin():
                    after_reboot = False
                    continue
            await self._supervise()
            after_reboot = self._adopted_started = False

    async def _begin(self) -> bool:
        image = await find_image(self)
        try:
            await self._start(image)
        except ConfigError as error:
            self.wait(Waiting("CreateContainerConfigError", str(error)))
            self.pod.event(reason="Failed", message=f"Error: {error}", warning=True)
            await asyncio.sleep(_CONFIG_RETRY_SECONDS)
            return False
        except (StartError, VolumeError, OSError) as error:
            self._note_exit(Exit(128, 0, "", "", error=str(error)))
            self.pod.event(reason="Failed", message=f"Error: {error}", warning=True)
            if self._wanted(fresh=False):
                self.wait(Waiting("RunContainerError", str(error)))
            return False
        return True

    def _wanted(self, *, fresh: bool) -> bool:
        if fresh or self.report.sidecar or not isinstance(self.report.state, Terminated):
            return True
        policy = self.pod.restart_policy
        if self.report.init:
            return not self.report.succeeded and policy != "Never"
        if policy == "OnFailure":
            return not self.report.succeeded
        return policy == "Always"

    async def _back_off(self) -> None:
        """Wait before a restart: nothing the first time, then base, doubled up to cap."""
        settings = self.node.back_off
        if self._crashes <= 1:
            return
        delay = min(settings.base * 2 ** (self._crashes - 2), settings.cap)
        pod = self.pod.long_name
        why = f"back-off {duration(delay)} restarting failed container={self.name} pod={pod}"
        self.wait(Waiting(CRASH_LOOP, why))
        told = f"Back-off restarting failed container {self.name} in pod {pod}"
        self.pod.event(reason="BackOff", message=told, warning=True)
        await asyncio.sleep(delay)

    async def _start(self, image: Image) -> None:
        """Make the next attempt and run it. Raises ConfigError, VolumeError, StartError, OSError."""
        spec = make_spec(self, image=image, attempt=self._attempts.following)
        self._attempts.advance()
        recipe.prepare_attempt(self.attempt)
        self.pod.event(reason="Created", message=f"Created container: {self.name}")
        self._listeners.forget()
        self._process = await ContainerProcess.spawn(self.attempt, spec=spec)
        self.pod.event(reason="Started", message=f"Started container {self.name}")
        log.info("Started container pod=%s container=%s attempt=%d", self.pod.title, self.name, self._attempts.number)
        self.report = self.report.with_state(
            Running(self._process.started_at),
            last=self._previous_end(),
            ready=False,
            started=False,
            restart_count=self._attempts.number,
            container_id=self._attempts.container_id,
        )
        if self.stopping:  # the pod was ended while the process was being made
            self._process.terminate()
        # Published by _supervise, together with readiness where there is no probe.

    async def _supervise(self) -> None:
        """From started to ended."""
        process = self._process
        assert process is not None  # noqa: S101 - run() has just started or adopted it
        watching = asyncio.create_task(Health(self, begun=self._adopted_started).watch())
        self.pod.mind(watching)
        try:
            end = await process.wait()
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        self._cancel_kill()
        self._note_exit(end)

    def _note_exit(self, end: Exit) -> None:
        terminated = self._attempts.told(end)
        self._crashes = 1 if seconds_run(end) >= self.node.back_off.reset_after else self._crashes + 1
        self.started.clear()
        ready = self.report.init and terminated.exit_code == 0 and not self.report.sidecar
        count = max(self._attempts.number, 0)
        self.report = self.report.with_state(terminated, ready=ready, started=False, restart_count=count)
        which = (self.pod.title, self.name, self._attempts.number, terminated.reason, terminated.exit_code)
        log.info("Ended container pod=%s container=%s attempt=%d reason=%s exit=%d", *which)
        self.pod.publish()

    def _previous_end(self) -> Terminated | None:
        if isinstance(self.report.state, Terminated) and self.report.state.container_id != self._attempts.container_id:
            return self.report.state
        return self.report.last or self._attempts.previous_end()

    # --- What is reported -------------------------------------------------------------------------

    def show(self, **changes: Any) -> None:
        """Change the report, not the state, and publish it."""
        self.report = self.report.with_state(self.report.state, **changes)
        self.pod.publish()

    def wait(self, state: Waiting) -> None:
        """Report that it waits, and for what."""
        last = self.report.state if isinstance(self.report.state, Terminated) else self.report.last
        self.report = self.report.with_state(state, last=last, ready=False, started=False)
        self.pod.publish()

    # --- The end ----------------------------------------------------------------------------------

    async def end_attempt(self, why: str) -> None:
        """End this attempt only; the policy decides whether there is another."""
        self.pod.event(reason="Killing", message=f"Container {self.name} {why}")
        probe = self.container.get("livenessProbe") or {}
        grace = probe.get("terminationGracePeriodSeconds", self.pod.grace_seconds)
        await self._pre_stop_and_end(float(grace))

    def forbid_restart(self) -> None:
        self.stopping = True

    async def stop(self, *, grace: float, hooks: bool = True) -> None:
        """preStop, TERM, at the end of the grace KILL. Returns when the container is gone."""
        self.forbid_restart()
        process = self._living
        if process is None:
            return
        await self._pre_stop_and_end(grace, hooks=hooks)
        await process.wait()

    def hurry(self, *, grace: float) -> None:
        """A shorter grace than was promised."""
        if self._kill_timer is not None:
            left = self._kill_timer.when() - asyncio.get_running_loop().time()
            if grace < left:
                self._arm_kill(grace)

    async def _pre_stop_and_end(self, grace: float, *, hooks: bool = True) -> None:
        process = self._living
        if process is None:
            return
        self._arm_kill(grace)
        hook = (self.container.get("lifecycle") or {}).get("preStop")
        if hook and hooks and grace > 0:
            running = asyncio.ensure_future(run_hook(hook, worker=self))
            ended = asyncio.ensure_future(process.wait())
            await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if not running.done():
                running.cancel()
            elif not running.result().ok:
                message = f"PreStopHook failed: {running.result().message}"
                self.pod.event(reason="FailedPreStopHook", message=message, warning=True)
        process.terminate()

    def _arm_kill(self, grace: float) -> None:
        self._cancel_kill()
        if self._process is not None:
            self._kill_timer = asyncio.get_running_loop().call_later(max(grace, 0.0), self._process.kill)

    def _cancel_kill(self) -> None:
        if self._kill_timer is not None:
            self._kill_timer.cancel()
            self._kill_timer = None

    async def vanish(self) -> None:
        """End everything at once, as when the power goes."""
        self.forbid_restart()
        if process := self._living:
            process.kill()
            await process.wait()

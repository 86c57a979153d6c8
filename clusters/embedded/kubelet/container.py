"""One container's life on this node, as one coroutine that reads from top to bottom.

    (adopt) -> image -> configuration -> start -> [started -> probes] -> exit -> restart? -> back-off -> image ...

Each start is an attempt directory ``DIR/pods/<uid>/containers/<name>/<n>``; its number is the restart count, so a
restarted kubelet knows it from disk. The first restart comes at once, later ones after the back-off, as a kubelet
does it. After a restart of the node itself nobody waits.
"""

import asyncio
import contextlib
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from clusters.embedded.images import Image, ImageBrokenError, ImageMissingError
from clusters.embedded.kubelet import probes, recipe, sockets, volumes
from clusters.embedded.kubelet.environment import ConfigError, container_command, container_environment, expand
from clusters.embedded.kubelet.process import ContainerProcess, ExecResult, Exit, StartError, is_alive, read_exit
from clusters.embedded.kubelet.shim import descendants
from clusters.embedded.kubelet.status import (
    CRASH_LOOP,
    ContainerReport,
    Running,
    Terminated,
    Waiting,
)
from clusters.embedded.kubelet.volumes import VolumeError
from clusters.embedded.resources import Obj

if TYPE_CHECKING:
    from clusters.embedded.kubelet.pod import PodWorker

log = logging.getLogger(__name__)

_IMAGE_LOOK_SECONDS: Final = 1.0
_CONFIG_RETRY_SECONDS: Final = 2.0
_OWNED_SECONDS: Final = 30.0
_MESSAGE_BYTES: Final = 4096
_LOG_MESSAGE_BYTES: Final = 2048


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
        self._home: Path = pod.directory / "containers" / self.name
        self._number = max((int(path.name) for path in _attempts(self._home)), default=-1)
        self._process: ContainerProcess | None = None
        self._crashes = 0
        self._stopping = False
        self._ended_by_probe = ""
        self._adopted_started = False
        self._kill_timer: asyncio.TimerHandle | None = None
        self._owned: dict[tuple[str, int], float] = {}
        self.started = asyncio.Event()

    # --- What others ask --------------------------------------------------------------------------

    @property
    def attempt(self) -> Path:
        return self._home / str(self._number)

    def log_path(self, *, previous: bool) -> Path:
        return self._home / str(self._number - 1 if previous else self._number) / "log"

    async def attempt_over(self) -> None:
        """Return once the current attempt writes nothing any more; at once when none runs."""
        if self._process is not None and not self._process.exited:
            await self._process.wait()

    @property
    def running(self) -> bool:
        return self._process is not None and not self._process.exited

    @property
    def pod_ip(self) -> str:
        return self.pod.pod_ip

    def pids(self) -> set[int]:
        """Ids of the container's processes, as seen from outside."""
        return set() if self._process is None else {self._process.pid} | descendants(self._process.pid)

    def owns_listener(self, host: str, *, port: int) -> bool:
        """Whether host:port is served by this pod's processes; a yes is believed for half a minute."""
        now = asyncio.get_running_loop().time()
        if now < self._owned.get((host, port), 0.0):
            return True
        inodes = sockets.listening_inodes(host, port=port)
        owned = sockets.hold_any(self.pod.pids(), inodes)
        if owned:
            self._owned[host, port] = now + _OWNED_SECONDS
        return owned

    async def execute(self, argv: list[str], *, timeout_seconds: float) -> ExecResult:
        if self._process is None or self._process.exited:
            return ExecResult(-1, f"container {self.name} is not running")
        words = [self.pod.rewriter(self)(word) for word in argv]
        return await self._process.execute(words, timeout_seconds=timeout_seconds)

    # --- Life -------------------------------------------------------------------------------------

    def recall(self, *, before: Obj) -> None:
        """Read from disk what was known before this kubelet started.

        ``before`` is what the pod's status said; of a container that still runs, being ready and started is
        believed until a probe says otherwise.
        """
        if self._number < 0:
            return
        changes = {"restart_count": self._number, "container_id": self._container_id()}
        if is_alive(self.attempt):
            same = before.get("containerID") == self._container_id()
            self._adopted_started = same and bool(before.get("started"))
            changes |= {"started": self._adopted_started, "ready": same and bool(before.get("ready"))}
            started_at = (before.get("state") or {}).get("running", {}).get("startedAt", "")
            self.report = self.report.with_state(Running(started_at), last=self._previous_end(), **changes)
        else:
            ended = self._terminated(read_exit(self.attempt)) if (self.attempt / "lock").exists() else None
            self.report = self.report.with_state(ended or self.report.state, **changes)

    async def adopt(self) -> None:
        """Take hold of a container that went on without a kubelet."""
        if self._number < 0:
            return
        self._process = await ContainerProcess.find(self.attempt)
        if self._process is not None:
            log.info("Adopted container pod=%s container=%s", self.pod.title, self.name)
            state = Running(self._process.started_at)
            self.report = self.report.with_state(state)
        elif isinstance(self.report.state, Running):  # it ended in between
            ended = self._terminated(read_exit(self.attempt))
            self.report = self.report.with_state(ended, ready=False, started=False)

    async def run(self) -> None:
        """Until the container is not to be started again."""
        after_reboot = True
        while not self._stopping:
            if not self.running:
                if not self._wanted(fresh=self._number < 0):
                    return
                if not after_reboot:
                    await self._back_off()
                if not await self._begin():
                    after_reboot = False
                    continue
            await self._supervise()
            after_reboot = self._adopted_started = False

    async def _begin(self) -> bool:
        image = await self._image()
        try:
            await self._start(image)
        except ConfigError as error:
            self._wait(Waiting("CreateContainerConfigError", str(error)))
            self.pod.event(reason="Failed", message=f"Error: {error}", warning=True)
            await asyncio.sleep(_CONFIG_RETRY_SECONDS)
            return False
        except (StartError, VolumeError, OSError) as error:
            self._note_exit(Exit(128, 0, "", "", error=str(error)))
            self.pod.event(reason="Failed", message=f"Error: {error}", warning=True)
            if self._wanted(fresh=False):
                self._wait(Waiting("RunContainerError", str(error)))
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
        where = f"{self.name} in pod {self.pod.long_name}"
        message = f"back-off {_duration(delay)} restarting failed container={self.name} pod={self.pod.long_name}"
        self._wait(Waiting(CRASH_LOOP, message))
        self.pod.event(reason="BackOff", message=f"Back-off restarting failed container {where}", warning=True)
        await asyncio.sleep(delay)

    async def _image(self) -> Image:
        """The image, waiting for it to appear."""
        ref, waits = self.container["image"], self._image_waits()
        while True:
            try:
                image = self.node.images.find(ref)
            except (ImageMissingError, ImageBrokenError) as error:
                await self._await_image(ref, why=str(error), delay=next(waits))
                continue
            if seconds := self.node.pull_seconds():
                self.pod.event(reason="Pulling", message=f'Pulling image "{ref}"')
                await asyncio.sleep(seconds)
                self.pod.event(reason="Pulled", message=f'Successfully pulled image "{ref}" in {_duration(seconds)}')
            else:
                self.pod.event(reason="Pulled", message=f'Container image "{ref}" already present on machine')
            return image

    def _image_waits(self) -> Iterator[float]:
        delay = self.node.back_off.base
        while True:
            yield delay
            delay = min(delay * 2, self.node.back_off.cap)

    async def _await_image(self, ref: str, *, why: str, delay: float) -> None:
        if self.container.get("imagePullPolicy") == "Never":
            message = f'Container image "{ref}" is not present with pull policy of Never'
            reason = "ErrImageNeverPull"
        else:
            self.pod.event(reason="Pulling", message=f'Pulling image "{ref}"')
            message, reason = f'Failed to pull image "{ref}": {why}', "ErrImagePull"
        self._wait(Waiting(reason, message))
        self.pod.event(reason="Failed", message=message, warning=True)
        self.pod.event(reason="Failed", message=f"Error: {reason}", warning=True)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + delay
        while loop.time() < deadline:
            await asyncio.sleep(min(_IMAGE_LOOK_SECONDS, max(0.0, deadline - loop.time())))
            with contextlib.suppress(ImageMissingError, ImageBrokenError):
                self.node.images.find(ref)
                return
            if reason == "ErrImagePull" and self.report.state == Waiting(reason, message):
                self._wait(Waiting("ImagePullBackOff", f'Back-off pulling image "{ref}": {why}'))
                self.pod.event(reason="BackOff", message=f'Back-off pulling image "{ref}"')
                self.pod.event(reason="Failed", message="Error: ImagePullBackOff", warning=True)

    async def _start(self, image: Image) -> None:
        """Make the next attempt and run it. Raises ConfigError, VolumeError, StartError, OSError."""
        spec = self._spec(image, attempt=self._home / str(self._number + 1))
        self._number += 1
        self._forget_old_attempts()
        recipe.prepare_attempt(self.attempt)
        self.pod.event(reason="Created", message=f"Created container: {self.name}")
        self._owned.clear()
        self._process = await ContainerProcess.spawn(self.attempt, spec=spec)
        self.pod.event(reason="Started", message=f"Started container {self.name}")
        log.info("Started container pod=%s container=%s attempt=%d", self.pod.title, self.name, self._number)
        self.report = self.report.with_state(
            Running(self._process.started_at),
            last=self._previous_end(),
            ready=False,
            started=False,
            restart_count=self._number,
            container_id=self._container_id(),
        )
        if self._stopping:  # the pod was ended while the process was being made
            self._process.terminate()
        # Published by _supervise, together with readiness where there is no probe.

    def _spec(self, image: Image, *, attempt: Path) -> Obj:
        facts = self.pod.facts
        real = recipe.base_variables(image, isolation=self.node.isolation, attempt=attempt, environ=self.node.environ)
        host, port = self.node.api_address()
        base = real | {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}
        for mount in self.container.get("volumeMounts") or ():
            if self.pod.volumes.get(mount["name"]) == self.node.images.directory:
                base["SLIPWAY_IMAGES"] = mount["mountPath"]
        variables = container_environment(
            self.container,
            facts=facts,
            sources=self.node.sources,
            base=base | {"HOSTNAME": facts.pod["metadata"]["name"]},
        )
        mounts = tuple(self._mounts(variables))
        order = self.pod.recipe_for(
            self,
            image=image,
            variables=variables,
            mounts=mounts,
            attempt=attempt,
            command=container_command(self.container, variables=variables),
        )
        return recipe.shim_spec(replace(order, real=real), isolation=self.node.isolation)

    def _mounts(self, variables: dict[str, str]) -> Iterator[recipe.Mount]:
        for mount in self.container.get("volumeMounts") or ():
            volume = self.pod.volumes.get(mount["name"])
            if volume is None:
                raise ConfigError(f'volume "{mount["name"]}" is not in the pod')
            source = volumes.mount_source(mount, volume=volume, variables=variables, expand=expand)
            yield recipe.Mount(source, mount["mountPath"], bool(mount.get("readOnly")))

    async def _supervise(self) -> None:
        """From started to ended."""
        process = self._process
        assert process is not None  # noqa: S101 - run() has just started or adopted it
        watching = asyncio.create_task(self._watch_health())
        self.pod.mind(watching)
        try:
            end = await process.wait()
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        self._cancel_kill()
        self._note_exit(end)

    def _note_exit(self, end: Exit) -> None:
        terminated = self._terminated(end)
        ran = _seconds_between(end)
        self._crashes = 1 if ran >= self.node.back_off.reset_after else self._crashes + 1
        self.started.clear()
        self._ended_by_probe = ""
        ready = self.report.init and terminated.exit_code == 0 and not self.report.sidecar
        count = max(self._number, 0)
        self.report = self.report.with_state(terminated, ready=ready, started=False, restart_count=count)
        log.info(
            "Ended container pod=%s container=%s attempt=%d reason=%s exit=%d",
            self.pod.title,
            self.name,
            self._number,
            terminated.reason,
            terminated.exit_code,
        )
        self.pod.publish()

    def _terminated(self, end: Exit) -> Terminated:
        if end.error and not end.started_at:
            reason = "StartError"
        elif not end.known:
            reason = "ContainerStatusUnknown"
        elif end.oom_killed:
            reason = "OOMKilled"
        else:
            reason = "Completed" if end.exit_code == 0 else "Error"
        return Terminated(
            exit_code=end.exit_code,
            reason=reason,
            started_at=end.started_at,
            finished_at=end.finished_at,
            message=self._termination_message(end),
            container_id=self._container_id(),
        )

    def _termination_message(self, end: Exit) -> str:
        if end.error:
            return end.error
        if not end.known:
            return "The container could not be located when the pod was terminated"
        with contextlib.suppress(OSError):
            told = (self.attempt / "termination-log").read_bytes()[:_MESSAGE_BYTES].decode(errors="replace")
            if told:
                return told
        if end.exit_code and self.container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            return last_log_lines(self.attempt / "log")
        return ""

    def _previous_end(self) -> Terminated | None:
        before = self._home / str(self._number - 1)
        if isinstance(self.report.state, Terminated) and self.report.state.container_id != self._container_id():
            return self.report.state
        if self.report.last is not None or not (before / "lock").exists():  # there was none, or it never began
            return self.report.last
        end = read_exit(before)
        return Terminated(end.exit_code, "Error" if end.exit_code else "Completed", end.started_at, end.finished_at)

    def _wait(self, state: Waiting) -> None:
        last = self.report.state if isinstance(self.report.state, Terminated) else self.report.last
        self.report = self.report.with_state(state, last=last, ready=False, started=False)
        self.pod.publish()

    def _container_id(self) -> str:
        return "process://" + hashlib.sha256(f"{self.pod.uid}/{self.name}/{self._number}".encode()).hexdigest()

    def _forget_old_attempts(self) -> None:
        for path in _attempts(self._home):
            if int(path.name) < self._number - 1:
                shutil.rmtree(path, ignore_errors=True)

    # --- Health -----------------------------------------------------------------------------------

    async def _watch_health(self) -> None:
        hook = (self.container.get("lifecycle") or {}).get("postStart")
        if hook and not self._adopted_started:
            outcome = await self._hook(hook)
            if not outcome.ok:
                self.pod.event(
                    reason="FailedPostStartHook", message=f"PostStartHook failed: {outcome.message}", warning=True
                )
                await self._end_for("FailedPostStartHook")
                return
        probe = self.container.get("startupProbe")
        if probe and not self._adopted_started:
            self.pod.publish()
            if not await self._await_startup(probe):
                return
        self.started.set()
        readiness, liveness = self.container.get("readinessProbe"), self.container.get("livenessProbe")
        ready = self.report.ready if readiness else True  # an adopted one may be ready already
        self.report = self.report.with_state(self.report.state, started=True, ready=ready)
        self.pod.publish()
        kinds: list[tuple[str, Obj, Callable[[bool], None]]] = []
        if readiness:
            kinds.append(("Readiness", readiness, self._set_ready))
        if liveness:
            kinds.append(("Liveness", liveness, self._on_liveness))
        async with asyncio.TaskGroup() as group:
            for kind, probe, act in kinds:
                group.create_task(self._probe(kind, probe, act=act))

    async def _await_startup(self, probe: Obj) -> bool:
        tally = probes.Tally(probes.ProbeSettings.of(probe), verdict=False)

        def judge(outcome: probes.Outcome) -> bool:
            self._tell_unhealthy("Startup", outcome)
            return tally.count(outcome.ok)

        await probes.repeat(probe, attempt=lambda: self._look(probe), report=judge)
        if not tally.verdict:
            await self._end_for("failed startup probe, will be restarted")
        return tally.verdict

    async def _probe(self, kind: str, probe: Obj, *, act: Callable[[bool], None]) -> None:
        tally = probes.Tally(probes.ProbeSettings.of(probe), verdict=kind == "Liveness" or self.report.ready)

        def judge(outcome: probes.Outcome) -> bool:
            self._tell_unhealthy(kind, outcome)
            if tally.count(outcome.ok):
                act(tally.verdict)
            return bool(self._ended_by_probe)

        await probes.repeat(probe, attempt=lambda: self._look(probe), report=judge)

    async def _look(self, probe: Obj) -> probes.Outcome:
        return await probes.look(probe, container=self.container, target=self)

    def _tell_unhealthy(self, kind: str, outcome: probes.Outcome) -> None:
        if not outcome.ok and not self._stopping:
            self.pod.event(reason="Unhealthy", message=f"{kind} probe failed: {outcome.message}", warning=True)

    def _set_ready(self, ready: bool) -> None:
        if ready != self.report.ready and not self._stopping:
            self.report = self.report.with_state(self.report.state, ready=ready)
            self.pod.publish()

    def _on_liveness(self, alive: bool) -> None:
        if not alive and not self._ended_by_probe and not self._stopping:
            self._ended_by_probe = "failed liveness probe, will be restarted"
            self.pod.mind(asyncio.create_task(self._end_for(self._ended_by_probe)))

    async def _end_for(self, why: str) -> None:
        """End this attempt only; the policy decides whether there is another."""
        self.pod.event(reason="Killing", message=f"Container {self.name} {why}")
        probe = self.container.get("livenessProbe") or {}
        grace = probe.get("terminationGracePeriodSeconds", self.pod.grace_seconds)
        await self._pre_stop_and_end(float(grace))

    # --- The end ----------------------------------------------------------------------------------

    def forbid_restart(self) -> None:
        self._stopping = True

    async def stop(self, *, grace: float, hooks: bool = True) -> None:
        """preStop, TERM, at the end of the grace KILL. Returns when the container is gone."""
        self.forbid_restart()
        process = self._process
        if process is None or process.exited:
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
        process = self._process
        if process is None or process.exited:
            return
        self._arm_kill(grace)
        hook = (self.container.get("lifecycle") or {}).get("preStop")
        if hook and hooks and grace > 0:
            running = asyncio.ensure_future(self._hook(hook))
            ended = asyncio.ensure_future(process.wait())
            await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if not running.done():
                running.cancel()
            elif not running.result().ok:
                message = f"PreStopHook failed: {running.result().message}"
                self.pod.event(reason="FailedPreStopHook", message=message, warning=True)
        process.terminate()

    async def _hook(self, hook: Obj) -> probes.Outcome:
        if pause := hook.get("sleep"):
            await asyncio.sleep(float(pause.get("seconds") or 0))
            return probes.Outcome(True)
        settings = {"timeoutSeconds": max(self.pod.grace_seconds, 1)}
        return await probes.look({**hook, **settings}, container=self.container, target=self)

    def _arm_kill(self, grace: float) -> None:
        self._cancel_kill()
        process = self._process
        if process is not None:
            self._kill_timer = asyncio.get_running_loop().call_later(max(grace, 0.0), process.kill)

    def _cancel_kill(self) -> None:
        if self._kill_timer is not None:
            self._kill_timer.cancel()
            self._kill_timer = None

    async def vanish(self) -> None:
        """End everything at once, as when the power goes."""
        self.forbid_restart()
        if self._process is not None and not self._process.exited:
            self._process.kill()
            await self._process.wait()


def last_log_lines(path: Path) -> str:
    """The end of a CRI log, as a termination message: at most 2 KiB, 80 lines."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4 * _LOG_MESSAGE_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    texts = [line.split(" ", 3)[3] for line in lines if line.count(" ") >= 3]
    return "\n".join(texts[-80:])[-_LOG_MESSAGE_BYTES:]


def _attempts(home: Path) -> list[Path]:
    if not home.is_dir():
        return []
    return [path for path in home.iterdir() if path.name.isdigit()]


def _duration(seconds: float) -> str:
    """As Go prints it: 10s, 2m40s, 5m0s."""
    if seconds < 60:
        return f"{seconds:g}s"
    return f"{int(seconds // 60)}m{int(seconds % 60)}s"


def _seconds_between(end: Exit) -> float:
    if not end.started_at or not end.finished_at:
        return 0.0
    began, over = (datetime.fromisoformat(text[:26] + "+00:00") for text in (end.started_at, end.finished_at))
    return (over - began).total_seconds()

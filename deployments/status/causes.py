"""Why something does not run: one name users already know, what happened, and ways out, the surest first.

`patience` is how long a rollout waits for a cause to pass by itself before it gives up: a node may be added, a quota
freed, a registry come back. `tries` is how often a container must end the same way before that counts as the cause.
"""

from dataclasses import dataclass
from typing import Any, Final

from deployments.status.server_log import FUNCTION, IMPORT, INIT, Failure

IMAGE: Final = "ImagePullLoopBackOff"
UNSCHEDULABLE: Final = "PodUnschedulable"
QUOTA: Final = "OutOfQuota"
MEMORY: Final = "PodOutOfMemory"
CRASH: Final = "DeploymentCrashLoopBackOff"
FETCH: Final = "ArtifactFetchFailed"
SPEC: Final = "InvalidDeploymentSpec"
NOT_READY: Final = "ResourceNotReady"
ROUTER: Final = "ScoringFeUnhealthy"
BUILD: Final = "ImageBuildFailure"
CANCELLED: Final = "OperationCanceled"

_PATIENCE: Final = {IMAGE: 60, UNSCHEDULABLE: 300, QUOTA: 60}
_TRIES: Final = {IMPORT: 1, FUNCTION: 1, INIT: 2, MEMORY: 2, FETCH: 3, CRASH: 3}


@dataclass(frozen=True)
class WayOut:
    """A sentence, and the exact command where there is one."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class StatusCause:
    """One named cause. `since` is when it was first seen, RFC 3339."""

    name: str
    text: str
    proof: str = ""
    fixes: tuple[WayOut, ...] = ()
    since: str = ""
    tries: int = 1  # how often it happened so far
    place: str = ""

    @property
    def patience(self) -> int:
        """Seconds a rollout waits for it to pass."""
        return _PATIENCE.get(self.name, 0)

    @property
    def settled(self) -> bool:
        """Whether it happened often enough to be believed."""
        return self.tries >= _TRIES.get(self.name, 1)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `cause_from_json` reads them."""
        return {
            "name": self.name,
            "text": self.text,
            "proof": self.proof,
            "fixes": [{"text": fix.text, "command": fix.command} for fix in self.fixes],
            "since": self.since,
            "tries": self.tries,
            "place": self.place,
        }


def cause_from_json(data: dict[str, Any] | None) -> StatusCause | None:
    """The cause that `to_json` wrote; None for None."""
    if not data:
        return None
    fixes = tuple(WayOut(text=fix["text"], command=fix.get("command", "")) for fix in data.get("fixes", []))
    return StatusCause(**(data | {"fixes": fixes}))


def script_failed(failure: Failure, *, script: str, tries: int, since: str) -> StatusCause:
    """init() raised, the script could not be imported, or a function is missing."""
    where = f" ({failure.place})" if failure.place else ""
    desk = WayOut("Try it at your desk first.", command=f"azmlinfsrv --entry_script {script} --model_dir ./model")
    if failure.name == FUNCTION:
        fixes: tuple[WayOut, ...]
        text = f"{script} has no function {failure.function}(). A scoring script needs init() and run()."
        fixes = (WayOut(f"Add {failure.function}() to {script} and deploy again."), desk)
    elif failure.name == IMPORT:
        missing = _missing_module(failure.proof)
        text = f"{script} could not be imported{where}: {failure.proof}."
        first = (
            WayOut(
                f"Register the environment again with the package that holds {missing}, and deploy with that version."
            )
            if missing
            else WayOut(f"Correct {script} and deploy again.")
        )
        fixes = (first, desk)
    else:
        text = f"Your init() raised an error{where}: {failure.proof}."
        fixes = (*_init_fixes(failure, script), desk)
    return StatusCause(
        name=failure.name, text=text, proof=failure.proof, fixes=fixes, since=since, tries=tries, place=failure.place
    )


def _init_fixes(failure: Failure, script: str) -> tuple[WayOut, ...]:
    if failure.proof.startswith("FileNotFoundError"):
        return (
            WayOut("Register the model again with the file that is missing, and deploy that version."),
            WayOut(f"Or correct the path in {script}: the model's files are below AZUREML_MODEL_DIR."),
        )
    if missing := _missing_module(failure.proof):
        return (WayOut(f"Register the environment again with the package that holds {missing}, and deploy with that."),)
    return (WayOut(f"Correct init() in {script} and deploy again."),)


def _missing_module(proof: str) -> str:
    return proof.split("'")[1] if proof.startswith("ModuleNotFoundError") and proof.count("'") >= 2 else ""


def crashed(*, exit_code: int, tail: str, tries: int, since: str) -> StatusCause:
    """The server's process ended, and the log does not say that the script is to blame."""
    return StatusCause(
        name=CRASH,
        text=f"The server's process ended with exit code {exit_code}.",
        proof=tail,
        fixes=(
            WayOut("Look at the last lines of the log below; correct what they name and deploy again."),
            WayOut("If a library ended the process, pin its version in the environment's requirements."),
        ),
        since=since,
        tries=tries,
    )


def out_of_memory(*, limit: str, tries: int, since: str) -> StatusCause:
    """The kernel ended the process."""
    of = f" of {limit}" if limit else ""
    return StatusCause(
        name=MEMORY,
        text=f"A replica needed more memory than its limit{of}, and was ended.",
        fixes=(
            WayOut("Choose an instance type with more memory."),
            WayOut("Or load less in init(): a smaller model, or one copy instead of several."),
        ),
        since=since,
        tries=tries,
    )


def unschedulable(*, message: str, instance_type: str, since: str) -> StatusCause:
    """No node has room."""
    return StatusCause(
        name=UNSCHEDULABLE,
        text=f"No node has room for one more replica of instance type {instance_type}.",
        proof=message,
        fixes=(
            WayOut("Choose a smaller instance type, or fewer replicas."),
            WayOut("Or make room: scale another deployment down, or have an operator add a node."),
        ),
        since=since,
    )


def out_of_quota(*, message: str, namespace: str, since: str) -> StatusCause:
    """The namespace's quota refuses a pod."""
    return StatusCause(
        name=QUOTA,
        text=f"The quota of namespace {namespace} refuses one more replica.",
        proof=message,
        fixes=(
            WayOut("Choose a smaller instance type, or fewer replicas."),
            WayOut(
                "Or have an operator raise the quota.",
                command=f"kubectl describe resourcequota --namespace {namespace}",
            ),
        ),
        since=since,
    )


def refused_by_cluster(*, message: str, since: str) -> StatusCause:
    """The API server or an admission rule refuses the objects."""
    return StatusCause(
        name=SPEC,
        text="The cluster refuses a replica of this deployment.",
        proof=message,
        fixes=(WayOut("Change what the line names and deploy again, or ask an operator about that rule."),),
        since=since,
    )


def image_not_pulled(*, image: str, message: str, since: str) -> StatusCause:
    """The image is not to be had."""
    return StatusCause(
        name=IMAGE,
        text=f"The image {image} could not be pulled.",
        proof=message,
        fixes=(
            WayOut("Check the image's name and tag in the environment."),
            WayOut("Check that the cluster's nodes can reach the registry and may pull from it."),
        ),
        since=since,
    )


def fetch_failed(*, tail: str, tries: int, since: str) -> StatusCause:
    """The init container could not bring the model and the code."""
    return StatusCause(
        name=FETCH,
        text="The model and the code could not be fetched from the cluster's artifact cache.",
        proof=tail,
        fixes=(
            WayOut("Look at the line above: it names what to change."),
            WayOut("If it names the cache, have an operator look at slipway-artifacts on the cluster's page."),
        ),
        since=since,
        tries=tries,
    )

"""How a rollout ends badly, or waits."""

from deployments.status import StatusCause
from studio.services.operations import Cause, Fix


class RolloutError(Exception):
    """The Operation fails with this cause, at this step."""

    def __init__(self, cause: StatusCause, *, step: str) -> None:
        self.cause = cause
        self.step = step
        super().__init__(f"{step}: {cause.name}: {cause.text}")


class NotYetError(Exception):
    """Something else has to happen first; look again after `seconds`, or when something changes."""

    def __init__(self, sentence: str, *, seconds: float = 10) -> None:
        self.sentence = sentence
        self.seconds = seconds
        super().__init__(sentence)


def cause_of(cause: StatusCause) -> Cause:
    """A status's cause as an Operation keeps it."""
    fixes = tuple(Fix(text=fix.text, command=fix.command) for fix in cause.fixes)
    return Cause(name=cause.name, text=cause.text, proof=cause.proof, fixes=fixes)

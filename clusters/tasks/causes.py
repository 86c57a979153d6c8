"""Errors of the way to a cluster as causes of operations, under the names users of Azure ML know."""

from clusters.install.progress import Stuck
from clusters.kube.errors import Forbidden, KubeError, Unauthorized, Unreachable
from studio.services.operations import Cause, Fix


def cause_of(error: KubeError) -> Cause:
    """The cause an error stands for."""
    if isinstance(error, Unreachable):
        return Cause(
            name="ClusterNotReachable",
            text=f"The API server cannot be reached: {error.cause}.",
            fixes=(
                Fix("Check the address in the kubeconfig, and that this machine may reach it through the firewall."),
                Fix("Then check the cluster again."),
            ),
        )
    if isinstance(error, Unauthorized):
        return Cause(
            name="ClusterUnauthorized",
            text="The cluster does not accept these credentials.",
            proof=error.cause,
            fixes=(Fix("Attach the cluster again with credentials that are still valid."),),
        )
    if isinstance(error, Forbidden):
        return Cause(
            name="ClusterRightsMissing",
            text="The account of the kubeconfig may not do this in the cluster.",
            proof=error.cause,
            fixes=(Fix("Give the account this right, or attach with an account that may.", command=""),),
        )
    return Cause(
        name="KubernetesUnaccessible",
        text=f"{error.subject} failed.",
        proof=error.cause,
        fixes=(Fix(error.next_step),),
    )


def cause_of_stuck(stuck: Stuck, *, log: str) -> Cause:
    """The cause of an installation that does not get on; `log` are the last lines of the pod that proves it."""
    proof = "\n".join(part for part in (stuck.proof, log) if part)
    return Cause(name=stuck.name, text=stuck.text, proof=proof, fixes=tuple(Fix(text) for text in stuck.fixes))

"""From the cluster's objects to one word, one sentence and one cause."""

from typing import Any

from deployments.status import Asked, DeploymentStatus, Seen, StatusCause, status_from_json, status_of
from routerd import contract
from tests.deployments.status.test_server_log import IMPORT, INIT

NAMES = {contract.ENDPOINT: "iris", contract.DEPLOYMENT: "blue"}
T = "2026-11-21T09:00:00Z"


def asked(**more: Any) -> Asked:
    values: dict[str, Any] = {
        "revision": 1,
        "newest": 1,
        "proven": True,
        "automatic": True,
        "script": "score.py",
        "instance_type": "cpu-4",
        "namespace": "parcels",
    }
    return Asked(**(values | more))


def workload(*, replicas: int = 1, revision: int = 1, generation: int = 1, observed: int = 1) -> dict[str, Any]:
    template = {"metadata": {"labels": {contract.REVISION: str(revision)}}}
    return {
        "metadata": {"name": "iris--blue", "generation": generation},
        "spec": {"replicas": replicas, "template": template},
        "status": {"observedGeneration": observed},
    }


def pod(name: str = "a", *, revision: int = 1, node: str = "quay-01", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"iris--blue-{name}",
            "uid": f"uid-{name}",
            "labels": NAMES | {contract.REVISION: str(revision)},
            "creationTimestamp": T,
        },
        "spec": {
            "nodeName": node,
            "containers": [{"name": "server", "resources": {"limits": {"memory": "2Gi"}}}],
        },
        "status": {"conditions": [{"type": "PodScheduled", "status": "True"}]} | status,
    }


def container(name: str, state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "restartCount": 0, "ready": False, "started": False} | more


FETCHED = [container("storage", {"terminated": {"exitCode": 0, "finishedAt": T}})]


def server(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"initContainerStatuses": FETCHED, "containerStatuses": [container("server", state, **more)]}


RUNNING = {"running": {"startedAt": T}}
READY = server(RUNNING, ready=True, started=True)


def exited(code: int, *, restarts: int = 0, message: str = "", reason: str = "Error") -> dict[str, Any]:
    ended = {"exitCode": code, "reason": reason, "finishedAt": T, "message": message}
    if restarts == 0:
        return server({"terminated": ended})
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    return server(waiting, restartCount=restarts, lastState={"terminated": ended})


def status(*pods: dict[str, Any], what: Asked | None = None, **more: Any) -> DeploymentStatus:
    seen = Seen(workload=more.pop("workload", workload()), pods=pods, **more)
    return status_of(what or asked(), seen=seen)


def phase_of(one: dict[str, Any]) -> str:
    return status(one).replicas[0].phase


def test_a_replica_goes_through_its_phases() -> None:
    waiting = pod(node="")
    waiting["status"]["conditions"] = [{"type": "PodScheduled", "status": "False"}]
    assert phase_of(waiting) == "waiting"
    assert phase_of(pod(initContainerStatuses=[container("storage", RUNNING)])) == "fetching"
    assert phase_of(pod(**server({"waiting": {"reason": "PodInitializing"}}))) == "pulling"
    assert phase_of(pod(**server(RUNNING))) == "starting"
    assert phase_of(pod(**server(RUNNING, started=True))) == "probing"
    assert phase_of(pod(**READY)) == "ready"
    leaving = pod(**READY)
    leaving["metadata"]["deletionTimestamp"] = T
    assert phase_of(leaving) == "leaving"


def test_all_ready_is_healthy_and_complete() -> None:
    found = status(pod("a", **READY), pod("b", **READY), workload=workload(replicas=2))
    assert (found.state, found.sentence) == ("healthy", "All 2 replicas are ready.")
    assert found.complete


def test_an_unseen_template_is_never_complete() -> None:
    found = status(pod(**READY), workload=workload(generation=2, observed=1))
    assert not found.settled
    assert not found.complete
    assert found.state == "updating"


def test_an_old_replica_that_still_runs_makes_it_a_rollout() -> None:
    found = status(
        pod("old", revision=1, **READY), pod("new", revision=2, **server(RUNNING)), workload=workload(revision=2)
    )
    assert found.state == "updating"
    assert found.sentence == (
        "Rolling out revision 2. init() is running. 0 of 1 replica is ready. Callers still get the revision before it."
    )
    assert not found.complete


def test_fewer_ready_than_wanted_is_scaling_when_nothing_is_wrong() -> None:
    found = status(pod("a", **READY), pod("b", **server(RUNNING)), workload=workload(replicas=2))
    assert (found.state, found.sentence) == ("scaling", "1 of 2 replicas is ready. init() is running.")


def test_none_wanted_is_scaled_to_zero() -> None:
    found = status(workload=workload(replicas=0))
    assert (found.state, found.sentence) == ("stopped", "Scaled to 0. The next call starts a replica.")
    fixed = status(workload=workload(replicas=0), what=asked(automatic=False))
    assert fixed.sentence == "Scaled to 0. Callers get 503."


def test_a_failing_init_is_named_once_it_failed_twice() -> None:
    once = status(pod(**exited(3, message=INIT)), what=asked(proven=False)).cause
    assert once is not None
    assert (once.name, once.settled) == ("UserScriptInitFailed", False)
    twice = status(pod(**exited(3, restarts=2, message=INIT)), what=asked(proven=False)).cause
    assert twice is not None
    assert twice.settled
    assert twice.proof.startswith("FileNotFoundError")
    assert twice.fixes


def test_a_log_that_is_still_being_read_is_not_replaced_by_the_nodes_excerpt() -> None:
    crashed = pod(**exited(3, message=INIT))
    unread = status(crashed, tails={("uid-a", "server", 0): ""}).cause
    assert unread is not None
    assert (unread.name, unread.settled) == ("DeploymentCrashLoopBackOff", False)
    read = status(crashed, tails={("uid-a", "server", 0): IMPORT}).cause
    assert read is not None
    assert (read.name, read.settled) == ("UserScriptImportError", True)


def test_one_failing_replica_of_two_is_degraded_and_none_ready_is_failed() -> None:
    broken = pod("b", **exited(137, restarts=1, reason="OOMKilled"))
    some = status(pod("a", **READY), broken, workload=workload(replicas=2))
    assert some.state == "degraded"
    none = status(broken)
    assert none.state == "failed"
    assert none.cause is not None
    assert none.cause.name == "PodOutOfMemory"
    assert "2Gi" in none.cause.text


def test_a_replica_that_became_ready_again_has_no_cause() -> None:
    recovered = server(
        RUNNING, ready=True, started=True, restartCount=1, lastState={"terminated": {"exitCode": 1, "finishedAt": T}}
    )
    found = status(pod(**recovered))
    assert (found.state, found.cause) == ("healthy", None)
    assert found.replicas[0].restarts == 1


def test_no_room_is_unschedulable_with_the_schedulers_own_words() -> None:
    homeless = pod(node="")
    homeless["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient cpu.",
            "lastTransitionTime": T,
        }
    ]
    cause = status(homeless, what=asked(proven=False)).cause
    assert cause is not None
    assert (cause.name, cause.proof) == ("PodUnschedulable", "0/1 nodes are available: 1 Insufficient cpu.")
    assert (cause.patience, cause.since) == (300, T)


def test_an_image_that_cannot_be_pulled_is_named() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}
    cause = status(pod(**server(waiting, image="registry/x:1"))).cause
    assert cause is not None
    assert (cause.name, cause.text) == ("ImagePullLoopBackOff", "The image registry/x:1 could not be pulled.")


def test_a_quota_is_read_from_the_replica_set_because_there_is_no_pod() -> None:
    message = 'pods "iris--blue-1" is forbidden: exceeded quota: team, requested: cpu=4'
    refused = {
        "metadata": {"name": "iris--blue-1"},
        "spec": {"replicas": 1},
        "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]},
    }
    found = status(replica_sets=(refused,), what=asked(proven=False))
    assert found.cause is not None
    assert (found.cause.name, found.cause.proof) == ("OutOfQuota", message)
    assert found.state == "failed"


def test_a_failed_fetch_is_told_by_its_last_line() -> None:
    ended = {"terminated": {"exitCode": 1, "finishedAt": T, "message": "error: volume-gbm:7: disk full"}}
    one = pod(initContainerStatuses=[container("storage", ended)])
    found = status(one)
    assert found.cause is not None
    assert (found.cause.name, found.cause.proof) == ("ArtifactFetchFailed", "error: volume-gbm:7: disk full")


def test_a_cluster_that_cannot_be_asked_is_not_zero() -> None:
    found = status_of(asked(), seen=Seen(trouble="Cluster quay cannot be asked: connection refused"))
    assert (found.state, found.wanted) == ("unknown", None)
    assert "connection refused" in found.sentence


def test_what_was_taken_back_is_said_beside_what_runs() -> None:
    failure = StatusCause(name="UserScriptInitFailed", text="init() raised an error.")
    found = status(pod(**READY), what=asked(newest=2, failure=failure))
    assert found.state == "healthy"
    assert found.sentence.endswith("Revision 2 failed (UserScriptInitFailed) and was taken back; revision 1 answers.")


def test_without_a_workload_the_last_failure_or_its_absence_is_told() -> None:
    failure = StatusCause(name="UserScriptInitFailed", text="init() raised an error.")
    assert status(workload=None, what=asked(revision=0, failure=failure)).state == "failed"
    assert status(workload=None, what=asked(revision=0, working=True)).state == "updating"
    gone = status(workload=None)
    assert gone.state == "failed"
    assert "somebody deleted it" in gone.sentence


def test_a_status_survives_the_row_it_is_kept_in() -> None:
    found = status(pod(**exited(3, restarts=1, message=INIT)))
    assert status_from_json(found.to_json()) == found
    assert status_from_json({}) is None

"""Deployments, ReplicaSets and Jobs: how pods are replaced, counted, given up."""

import threading
from typing import Any

from tests.conformance.world import Obj, Place, condition

DEPLOYMENTS = "apps/v1/deployments"
JOBS = "batch/v1/jobs"


def reason_of(obj: Obj, kind: str) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((each.get("reason", "") for each in conditions if each["type"] == kind), "")


def with_colour(place: Place, name: str, colour: str, **spec: Any) -> Obj:
    template = place.template(name, env=[{"name": "COLOUR", "value": colour}])
    return place.deployment(name, template=template, **spec)


def test_a_deployment_makes_a_replica_set_that_makes_pods_that_belong_to_it(place: Place) -> None:
    made = place.caller.create(place.path(DEPLOYMENTS), place.deployment("web", replicas=2))
    deployment = place.until_available("web", replicas=2)
    assert condition(deployment, "Available") == "True"
    assert reason_of(deployment, "Progressing") == "NewReplicaSetAvailable"
    (replica_set,) = place.caller.get(place.path("apps/v1/replicasets"))["items"]
    (owner,) = replica_set["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Deployment", made["metadata"]["uid"], True)
    mark = replica_set["metadata"]["labels"]["pod-template-hash"]
    for pod in place.pods("web"):
        assert pod["metadata"]["ownerReferences"][0]["uid"] == replica_set["metadata"]["uid"]
        assert pod["metadata"]["labels"]["pod-template-hash"] == mark
        assert pod["metadata"]["name"].startswith(f"web-{mark}-")


def test_a_pod_that_is_taken_away_is_replaced(place: Place) -> None:
    place.caller.create(place.path(DEPLOYMENTS), place.deployment("web"))
    place.until_available("web", replicas=1)
    (before,) = place.pods("web")
    place.caller.delete(place.path("pods", before["metadata"]["name"]))
    place.caller.until_gone(place.path("pods", before["metadata"]["name"]))
    place.until_available("web", replicas=1)
    (after,) = place.pods("web")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


def test_a_rolling_update_keeps_within_surge_and_unavailability(place: Place) -> None:
    limits = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    place.caller.create(place.path(DEPLOYMENTS), with_colour(place, "web", "red", replicas=2, strategy=limits))
    place.until_available("web", replicas=2)
    path = place.path(DEPLOYMENTS, "web")
    seen: list[tuple[int, int]] = []
    done = threading.Event()

    def look() -> None:
        with place.caller.watch(place.path(DEPLOYMENTS), resourceVersion="0", timeoutSeconds=60) as events:
            for event in events:
                status = event["object"].get("status") or {}
                seen.append((status.get("replicas", 0), status.get("availableReplicas", 0)))
                if done.is_set():
                    return

    watching = threading.Thread(target=look)
    watching.start()
    place.caller.apply(
        path, with_colour(place, "web", "blue", replicas=2, strategy=limits), manager="test", force="true"
    )
    place.until_available("web", replicas=2)
    done.set()
    place.caller.patch(path, {"metadata": {"annotations": {"end": "yes"}}})
    watching.join(60)
    assert max(replicas for replicas, _ in seen) == 3
    assert min(available for _, available in seen) >= 2
    for pod in place.pods("web"):
        if "deletionTimestamp" not in pod["metadata"]:
            assert pod["spec"]["containers"][0]["env"] == [{"name": "COLOUR", "value": "blue"}]


def test_recreate_ends_all_before_it_begins_anew(place: Place) -> None:
    strategy = {"type": "Recreate"}
    place.caller.create(place.path(DEPLOYMENTS), with_colour(place, "web", "red", strategy=strategy))
    place.until_available("web", replicas=1)
    (before,) = place.pods("web")
    since = place.caller.get(place.path("pods"))["metadata"]["resourceVersion"]
    body = with_colour(place, "web", "blue", strategy=strategy)
    place.caller.apply(place.path(DEPLOYMENTS, "web"), body, manager="test", force="true")
    with place.caller.watch(place.path("pods"), resourceVersion=since, timeoutSeconds=60) as events:
        order = _until_added(events, before["metadata"]["name"])
    assert order[-1] == "new"
    assert "old ended" in order


def _until_added(events: Any, old: str) -> list[str]:
    """What happened, up to the first new pod."""
    found = []
    for event in events:
        pod = event["object"]
        if pod["metadata"]["name"] != old:
            return [*found, "new"]
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if event["type"] == "DELETED" or ended:
            found.append("old ended")
    return found


def test_a_rollout_that_does_not_progress_says_so_and_keeps_the_old(place: Place) -> None:
    place.caller.create(place.path(DEPLOYMENTS), place.deployment("web", progressDeadlineSeconds=600))
    place.until_available("web", replicas=1)
    bad = place.deployment("web", progressDeadlineSeconds=2)
    bad["spec"]["template"]["spec"]["containers"][0]["image"] = "slipway.invalid/none:1"
    path = place.path(DEPLOYMENTS, "web")
    place.caller.apply(path, bad, manager="test", force="true")
    found = place.caller.until(path, lambda each: reason_of(each, "Progressing") == "ProgressDeadlineExceeded")
    assert condition(found, "Progressing") == "False"
    assert condition(found, "Available") == "True"
    assert found["status"]["availableReplicas"] == 1


def test_a_paused_deployment_waits(place: Place) -> None:
    path = place.path(DEPLOYMENTS, "web")
    place.caller.create(place.path(DEPLOYMENTS), place.deployment("web", replicas=0))
    place.until_available("web", replicas=0)
    place.caller.patch(path, {"spec": {"paused": True}})
    place.caller.apply(path, with_colour(place, "web", "blue", replicas=0, paused=True), manager="test", force="true")
    generation = place.caller.get(path)["metadata"]["generation"]
    found = place.caller.until(path, lambda each: each["status"].get("observedGeneration") == generation)
    assert reason_of(found, "Progressing") in ("DeploymentPaused", "NewReplicaSetAvailable")
    assert len(place.caller.get(place.path("apps/v1/replicasets"))["items"]) == 1
    place.caller.patch(path, {"spec": {"paused": None}})
    place.caller.until(place.path("apps/v1/replicasets"), lambda found: len(found["items"]) == 2)


def test_scaling_down_leaves_as_many_as_asked(place: Place) -> None:
    """Which of several ready pods stays is not asked: a real controller compares their ages on a logarithmic scale."""
    place.caller.create(place.path(DEPLOYMENTS), place.deployment("web"))
    place.until_available("web", replicas=1)
    path = place.path(DEPLOYMENTS, "web/scale")
    place.caller.patch(path, {"spec": {"replicas": 3}})
    place.until_available("web", replicas=3)
    place.caller.patch(path, {"spec": {"replicas": 1}})
    place.caller.until(place.path("pods"), lambda found: len(found["items"]) == 1)
    place.until_available("web", replicas=1)


# --- Jobs -------------------------------------------------------------------------------------------


def job(place: Place, name: str, run: str, **spec: Any) -> Obj:
    template = {"spec": {**place.pod(name, run=run)["spec"], "restartPolicy": "Never"}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template, **spec}}


def test_a_job_is_complete_when_its_pod_has_succeeded(place: Place) -> None:
    place.caller.create(place.path(JOBS), job(place, "once", "echo done"))
    found = place.caller.until(place.path(JOBS, "once"), lambda each: condition(each, "Complete") == "True")
    assert found["status"]["succeeded"] == 1
    assert found["status"]["completionTime"]
    (pod,) = place.caller.get(place.path("pods"), labelSelector="batch.kubernetes.io/job-name=once")["items"]
    assert pod["metadata"]["labels"]["job-name"] == "once"
    assert pod["metadata"]["ownerReferences"][0]["kind"] == "Job"
    place.until_event("once", "Completed")


def test_a_job_gives_up_after_its_backoff_limit(place: Place) -> None:
    place.caller.create(place.path(JOBS), job(place, "never", "exit 1", backoffLimit=0))
    found = place.caller.until(place.path(JOBS, "never"), lambda each: condition(each, "Failed") == "True")
    assert reason_of(found, "Failed") == "BackoffLimitExceeded"
    assert found["status"]["failed"] == 1
    place.until_event("never", "BackoffLimitExceeded")


def test_a_job_that_takes_too_long_is_ended(place: Place) -> None:
    place.caller.create(place.path(JOBS), job(place, "long", "exec sleep 1000", activeDeadlineSeconds=1))
    found = place.caller.until(place.path(JOBS, "long"), lambda each: condition(each, "Failed") == "True")
    assert reason_of(found, "Failed") == "DeadlineExceeded"


def test_a_finished_job_goes_away_when_its_time_is_over(place: Place) -> None:
    place.caller.create(place.path(JOBS), job(place, "once", "true", ttlSecondsAfterFinished=1))
    place.caller.until_gone(place.path(JOBS, "once"))
    place.caller.until(place.path("pods"), lambda found: not found["items"])


def test_a_job_of_several_runs_so_many_at_once_until_all_are_done(place: Place) -> None:
    place.caller.create(place.path(JOBS), job(place, "many", "true", completions=3, parallelism=2))
    found = place.caller.until(place.path(JOBS, "many"), lambda each: condition(each, "Complete") == "True")
    assert found["status"]["succeeded"] == 3

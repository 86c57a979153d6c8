"""Tasks: take ids, fetch, call one function. SCHEDULE is what the beat runs (see studio.celery)."""

SCHEDULE = {
    "prune-samples": ("deployments.tasks.upkeep.prune_samples", 300.0),
}

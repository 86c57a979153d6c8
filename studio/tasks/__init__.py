"""The studio's own periodic work."""

SCHEDULE = {"push-stale": ("studio.tasks.operations.push_stale", 10.0)}

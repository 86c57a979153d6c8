"""The effect on a cluster: apply, push, put back, delete. Called by tasks, one call per look at the facts."""

"""Thin tasks: they take ids, fetch, call one function, and come back when something is still on its way."""

SCHEDULE = {"check-clusters": ("clusters.tasks.check.check_all", 30.0)}

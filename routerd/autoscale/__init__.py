"""Decides how many replicas each deployment runs, and asks the cluster for them."""

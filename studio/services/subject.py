"""Subject: what an Operation, an audit entry or a log stream is about, by name instead of a foreign key.

The record outlives the thing: an endpoint may be deleted, who deleted it may not.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """("deployment", "12", "iris / blue"): what kind, which one, and how people call it."""

    kind: str
    id: str
    label: str

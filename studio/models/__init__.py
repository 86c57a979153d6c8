"""The studio's own nouns: workspaces and people, operations, logs, audit."""

from studio.models.audit import AuditEntry
from studio.models.logs import LogLine, LogStream
from studio.models.operation import UNFINISHED, Operation, OperationState, OperationStep, StepState
from studio.models.workspace import Installation, Membership, Role, Workspace

__all__ = [
    "UNFINISHED",
    "AuditEntry",
    "Installation",
    "LogLine",
    "LogStream",
    "Membership",
    "Operation",
    "OperationState",
    "OperationStep",
    "Role",
    "StepState",
    "Workspace",
]

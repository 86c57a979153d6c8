"""What people can ask for: validate, write the row, start the Operation. The effect on a cluster is in rollout."""

from deployments.services.deployments import delete_deployment, deploy, deploy_again
from deployments.services.endpoints import create_endpoint, delete_endpoint
from deployments.services.invoke import InvokeResult, invoke
from deployments.services.keys import rotate_key
from deployments.services.registry import pack_code, register_environment, register_model
from deployments.services.traffic import set_traffic

__all__ = [
    "InvokeResult",
    "create_endpoint",
    "delete_deployment",
    "delete_endpoint",
    "deploy",
    "deploy_again",
    "invoke",
    "pack_code",
    "register_environment",
    "register_model",
    "rotate_key",
    "set_traffic",
]

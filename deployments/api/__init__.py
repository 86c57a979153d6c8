"""REST under /api/v1/: the same specs, services and access checks as the pages, as JSON.

    GET     workspaces/W/endpoints                                 all, worst first
    GET     workspaces/W/endpoints/E
    PUT     workspaces/W/endpoints/E            endpoint YAML as JSON: makes it, or moves its traffic
    DELETE  workspaces/W/endpoints/E
    POST    workspaces/W/endpoints/E/keys/K/rotate
    GET     workspaces/W/endpoints/E/deployments
    GET     workspaces/W/endpoints/E/deployments/D
    PUT     workspaces/W/endpoints/E/deployments/D   deployment YAML as JSON: deploys it, or its next revision
    DELETE  workspaces/W/endpoints/E/deployments/D
    POST    workspaces/W/code                   files (multipart): what code_configuration.code names afterwards
    GET     workspaces/W/operations/ID          what a change became

What takes time answers 202 with an operation. Errors are problem+json; FieldErrors carry `errors` by field path.
Sign-in is the browser's session (with its CSRF token on changes); API tokens are not there yet.
"""

from deployments.api.app import api

__all__ = ["api"]

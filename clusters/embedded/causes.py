"""Why an object is invalid: the `causes` of a 422, in the API server's wording (pure)."""

import json
from typing import Any

Cause = dict[str, str]


def invalid(field: str, value: Any, why: str) -> Cause:
    message = f"Invalid value: {json.dumps(value, separators=(',', ':'))}: {why}"
    return {"reason": "FieldValueInvalid", "message": message, "field": field}


def required(field: str, why: str = "") -> Cause:
    message = "Required value" + (f": {why}" if why else "")
    return {"reason": "FieldValueRequired", "message": message, "field": field}


def unsupported(field: str, value: Any, choices: tuple[str, ...]) -> Cause:
    supported = ", ".join(json.dumps(choice) for choice in choices)
    message = f"Unsupported value: {json.dumps(value)}: supported values: {supported}"
    return {"reason": "FieldValueNotSupported", "message": message, "field": field}


def forbidden(field: str, why: str) -> Cause:
    return {"reason": "FieldValueForbidden", "message": f"Forbidden: {why}", "field": field}


def duplicate(field: str, value: Any) -> Cause:
    return {"reason": "FieldValueDuplicate", "message": f"Duplicate value: {json.dumps(value)}", "field": field}

"""Kubernetes' protobuf, read only: what kubectl sends for `kubectl create namespace NAME` and the like.

An object comes in an envelope (four magic bytes, then runtime.Unknown: type and raw message). The
field numbers of all built-in types are in schemas/kubernetes.json, so one generic reader turns the
message into the same JSON a client could have sent. Answers are always JSON, which every client that
sends protobuf also accepts.

Go writes zero values of plain fields too; JSON leaves them out, and so does this reader. Fields that
are pointers in Go are kept whatever they hold: `replicas: 0` is not the same as none.
"""

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from clusters.embedded.errors import BadRequest, UnsupportedMediaType
from clusters.embedded.resources import Obj
from clusters.embedded.schemas.shapes import built_in_types

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\x00"


def decode_object(body: bytes) -> Obj:
    """Raises BadRequest for a broken message, UnsupportedMediaType for a kind without a known shape."""
    if not body.startswith(_MAGIC):
        raise BadRequest("the body is not Kubernetes protobuf: it lacks the envelope")
    try:
        envelope = dict(_fields(body[len(_MAGIC) :]))
        kind = {number: _text(value) for number, value in _fields(envelope[1])}
        api_version, kind_name = kind.get(1, ""), kind.get(2, "")
        name = _type_name(api_version, kind_name)
        if name not in built_in_types():
            raise UnsupportedMediaType(f"{api_version} {kind_name} is not understood as protobuf: send JSON")
        found = _message(envelope.get(2, b""), name)
    except (KeyError, IndexError, ValueError, struct.error) as error:
        raise BadRequest(f"the protobuf body cannot be read: {error!r}") from error
    return {"apiVersion": api_version, "kind": kind_name, **found}


def _type_name(api_version: str, kind: str) -> str:
    if kind == "DeleteOptions":
        return "meta.v1.DeleteOptions"
    group, _, version = api_version.rpartition("/")
    return f"{group.split('.')[0] or 'core'}.{version}.{kind}"


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value): integers for varints, bytes for the rest."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(data):
            raise ValueError("the message is cut short")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7


def _message(data: bytes, type_name: str) -> Obj:
    known = {entry["n"]: (name, entry) for name, entry in built_in_types()[type_name]["fields"].items()}
    found: Obj = {}
    for number, raw in _fields(data):
        if number not in known:
            continue
        name, entry = known[number]
        kind = entry["t"]
        if entry.get("inline"):
            found.update(_message(raw, kind))
        elif kind.startswith("[]"):
            found.setdefault(name, []).append(_value(raw, kind[2:]))
        elif kind.startswith("{}"):
            key, value = _pair(raw, kind[2:])
            found.setdefault(name, {})[key] = value
        else:
            value = _value(raw, kind)
            if entry.get("pointer") or value not in (None, "", 0, False, {}):
                found[name] = value
    return found


def _pair(raw: bytes, kind: str) -> tuple[str, Any]:
    parts = dict(_fields(raw))
    return _text(parts.get(1, b"")), _value(parts.get(2, b""), kind)


def _value(raw: Any, kind: str) -> Any:
    if kind == "string":
        return _text(raw)
    if kind == "bytes":
        return base64.b64encode(raw).decode()
    if kind == "int":
        return raw - (1 << 64) if raw >= 1 << 63 else raw
    if kind == "bool":
        return bool(raw)
    if kind == "float":
        return struct.unpack("<d", raw)[0]
    if kind.startswith("[]"):  # a named list type is a message with its items in field 1
        return [_value(item, kind[2:]) for _, item in _fields(raw)]
    return _wrapped(raw, kind)


def _wrapped(raw: bytes, kind: str) -> Any:
    if kind in ("time", "microtime"):
        return _time(raw, micro=kind == "microtime")
    if kind == "quantity":
        return _text(dict(_fields(raw)).get(1, b""))
    if kind == "intstr":
        parts = dict(_fields(raw))
        return _text(parts.get(3, b"")) if parts.get(1) else _value(parts.get(2, 0), "int")
    if kind == "raw":
        text = dict(_fields(raw)).get(1, b"")
        return json.loads(text) if text else None
    return _message(raw, kind)


def _time(raw: bytes, *, micro: bool) -> str | None:
    parts = dict(_fields(raw))
    if not parts:
        return None
    moment = datetime.fromtimestamp(_value(parts.get(1, 0), "int"), UTC)
    if micro:
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{parts.get(2, 0) // 1000:06}Z"
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(raw: bytes) -> str:
    return raw.decode()

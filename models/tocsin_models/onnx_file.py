"""The operator set of an ONNX file, read without the `onnx` package.

An ONNX file is a protobuf message, `ModelProto` of the ONNX specification (onnx/onnx.proto3). Only
its field 8 is read here: the operator sets that the model needs.
"""

from __future__ import annotations

from collections.abc import Iterator

_OPSET_IMPORT, _DOMAIN, _VERSION = 8, 1, 2  # fields of ModelProto and of OperatorSetIdProto
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # kinds of fields
_STANDARD = ("", "ai.onnx")


def opset(content: bytes) -> int:
    """Return the version of the standard operator set that a model needs.

    Parameters
    ----------
    content : bytes
        The whole file.

    Raises
    ------
    ValueError
        If the file is no protobuf message, or names no standard operator set.
    """
    for field, value in _fields(content):
        if field == _OPSET_IMPORT and isinstance(value, bytes):
            imported = dict(_fields(value))
            domain, version = imported.get(_DOMAIN, b""), imported.get(_VERSION)
            if isinstance(domain, bytes) and domain.decode() in _STANDARD:
                if isinstance(version, int):
                    return version
                break
    raise ValueError("it names no operator set of ONNX")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field of a protobuf message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("it is no protobuf message")
        if at + size > len(message):
            raise ValueError("it ends in the middle of a field")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a number of up to 64 bits, seven to a byte, and the position after it."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(message):
            raise ValueError("it ends in the middle of a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number in it has no end")

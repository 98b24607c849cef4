"""The status message: whether a device is connected to its broker."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

STATUS_SCHEMA = "tocsin/status/v1"


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a device, retained on its status topic; a receiver ignores unknown fields."""

    schema: Annotated[str, Meta(description="Schema and version.")] = STATUS_SCHEMA
    state: Annotated[str, Meta(description="`online`, `stopped` or `offline` (by will).")]
    since: Annotated[
        datetime | None,
        Meta(description="UTC of the change; for `offline`, of the connection that was lost."),
    ] = None
    site: Annotated[str, Meta(description="As in the topic.")] = ""
    device: Annotated[str, Meta(description="As in the topic.")] = ""
    faults: Annotated[
        tuple[str, ...],
        Meta(description="While `online`: what does not work in keeping and delivering alerts."),
    ] = ()


def encode_status(status: Status) -> bytes:
    """Encode as UTF-8 JSON."""
    return msgspec.json.encode(status)


def decode_status(payload: bytes) -> Status:
    """Decode and validate.

    Raises
    ------
    msgspec.ValidationError
        If it does not satisfy the schema; `msgspec.DecodeError` if it is not JSON.
    """
    return msgspec.json.decode(payload, type=Status)

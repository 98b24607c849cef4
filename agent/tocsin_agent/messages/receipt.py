"""The receipt: a receiver states which alerts it has shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tocsin_agent.messages.alert import Audience

MAX_RECEIPT_BYTES = 65_536
MAX_RECEIPT_KEYS = 256


class Received(msgspec.Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """The key of an alert that was shown, and to whom the topic belongs on which it arrived."""

    alert_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$(?!\n)", description="As in the alert.")]
    sequence: Annotated[int, Meta(ge=1, description="As in the alert.")]
    audience: Annotated[Audience, Meta(description="`team` or `bedside`.")]


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a receiver has shown of one device, published on `receipt/<receiver>`; not retained.

    An alert that arrives a second time is not shown again, but named in a receipt again: the device
    that sent it again lacks the first one.
    """

    schema: Annotated[Literal["tocsin/receipt/v1"], Meta(description="Schema and version.")] = (
        "tocsin/receipt/v1"
    )
    receiver: Annotated[
        str, Meta(min_length=1, max_length=64, description="Who has it; also the end of the topic.")
    ]
    at: Annotated[datetime, Meta(tz=True, description="UTC of this message.")]
    received: Annotated[
        Annotated[tuple[Received, ...], Meta(max_length=MAX_RECEIPT_KEYS)],
        Meta(description="The alerts, by key."),
    ]


_DECODER = msgspec.json.Decoder(Receipt)


def encode_receipt(receipt: Receipt) -> bytes:
    """Encode as UTF-8 JSON."""
    return msgspec.json.encode(receipt)


def decode_receipt(payload: bytes) -> Receipt:
    """Decode and validate.

    Raises
    ------
    ValueError
        If it is too long, not JSON, or does not satisfy the schema.
    """
    if len(payload) > MAX_RECEIPT_BYTES:
        raise ValueError(f"{len(payload)} bytes, at most {MAX_RECEIPT_BYTES} expected")
    return _DECODER.decode(payload)

"""The presence lease: the message with which a person states that they are present."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_LEASE_BYTES = 4096
MAX_ID_CHARS = 128


class LeaseState(StrEnum):
    """What the holder states, or the broker on behalf of a holder that disconnected."""

    PRESENT = "present"
    RELEASED = "released"
    GONE = "gone"


class Lease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One presence message, retained on `tocsin/v1/<site>/presence/<role>`."""

    role: Annotated[str, Meta(min_length=1, description="As in the topic.")]
    id: Annotated[
        str, Meta(min_length=1, max_length=MAX_ID_CHARS, description="Who: a staff pseudonym.")
    ]
    state: Annotated[
        LeaseState,
        Meta(description="`present`; `released` by the holder; `gone` by the broker, as a will."),
    ]
    issued_at: Annotated[datetime, Meta(tz=True, description="UTC.")]
    expires_at: Annotated[datetime, Meta(tz=True, description="UTC; void from then on.")]
    schema: Annotated[Literal["tocsin/presence/v1"], Meta(description="Schema and version.")] = (
        "tocsin/presence/v1"
    )


_DECODER = msgspec.json.Decoder(Lease)
_ENCODER = msgspec.json.Encoder()


def make_lease(
    role: str, holder: str, lease_s: float, now: datetime, state: LeaseState = LeaseState.PRESENT
) -> Lease:
    """Make a lease that begins now.

    Parameters
    ----------
    role, holder : str
        The role, and the id of the person who holds it.
    lease_s : float
        Length in seconds; a lease whose state is not `present` has length 0.
    now : datetime
        Aware UTC.
    state : LeaseState
        What the lease states.

    Raises
    ------
    ValueError
        If `holder` is empty or too long: an agent would treat the lease as malformed.
    """
    if not 1 <= len(holder) <= MAX_ID_CHARS:
        raise ValueError(f"the id has {len(holder)} characters: use 1 to {MAX_ID_CHARS}")
    length = timedelta(seconds=lease_s if state is LeaseState.PRESENT else 0.0)
    return Lease(role, holder, state, now, now + length)


def encode_lease(lease: Lease) -> bytes:
    """Encode as UTF-8 JSON."""
    return _ENCODER.encode(lease)


def decode_lease(payload: bytes) -> Lease:
    """Decode and validate.

    Raises
    ------
    ValueError
        If it is too long, not JSON, or does not satisfy the schema.
    """
    if len(payload) > MAX_LEASE_BYTES:
        raise ValueError(f"{len(payload)} bytes, at most {MAX_LEASE_BYTES} expected")
    return _DECODER.decode(payload)

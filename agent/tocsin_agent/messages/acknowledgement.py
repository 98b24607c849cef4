"""The acknowledgement: a person answers an alert."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_ACKNOWLEDGEMENT_BYTES = 4096
MAX_WHO_CHARS = 128
MAX_SILENCE_S = 3600.0


class Action(StrEnum):
    """What a person does about an alert."""

    ACCEPT = "accept"
    REJECT = "reject"
    GIVE_BACK = "give_back"
    SILENCE = "silence"


class Acknowledgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A person's answer to one alert, published on `ack/<alert_id>`, retained."""

    schema: Annotated[Literal["tocsin/ack/v1"], Meta(description="Schema and version.")] = (
        "tocsin/ack/v1"
    )
    id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            description="Chosen by the sender, unique: sent again with the same id, it is applied "
            "once.",
        ),
    ]
    alert_id: Annotated[
        str,
        Meta(pattern=r"^[0-9a-f]{32}$(?!\n)", description="The alert; also the end of the topic."),
    ]
    who: Annotated[
        str,
        Meta(min_length=1, max_length=MAX_WHO_CHARS, description="A staff pseudonym."),
    ]
    role: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            description="In which role; the agent accepts those of `escalation.roles`.",
        ),
    ] = "team"
    action: Annotated[
        Action,
        Meta(
            description="`accept`: I take responsibility. `reject`: not me, the next level is "
            "addressed at once. `give_back`: I had it and no longer have it. `silence`: no "
            "repeats for `silence_s`; this accepts nothing."
        ),
    ]
    silence_s: Annotated[
        Annotated[float, Meta(gt=0, le=MAX_SILENCE_S)] | None,
        Meta(description="Seconds without repeats; with `silence` only."),
    ] = None
    at: Annotated[datetime, Meta(tz=True, description="UTC at which the person answered.")]

    def __post_init__(self) -> None:
        if (self.action is Action.SILENCE) != (self.silence_s is not None):
            raise ValueError("silence_s must be given with the action silence, and only with it")


_DECODER = msgspec.json.Decoder(Acknowledgement)


def encode_acknowledgement(acknowledgement: Acknowledgement) -> bytes:
    """Encode as UTF-8 JSON."""
    return msgspec.json.encode(acknowledgement)


def decode_acknowledgement(payload: bytes) -> Acknowledgement:
    """Decode and validate.

    Raises
    ------
    ValueError
        If it is too long, not JSON, or does not satisfy the schema.
    """
    if len(payload) > MAX_ACKNOWLEDGEMENT_BYTES:
        raise ValueError(f"{len(payload)} bytes, at most {MAX_ACKNOWLEDGEMENT_BYTES} expected")
    return _DECODER.decode(payload)

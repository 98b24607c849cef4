"""The review: what a person says about an alert, for whoever judges and improves the alarms.

It changes nothing of the alert: an answer does (`acknowledgement`). A rejected alert has both.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_REVIEW_BYTES = 8192


class Finding(StrEnum):
    """What a person found."""

    TRUE_ALARM = "true_alarm"
    FALSE_ALARM = "false_alarm"
    WRONG_CONDITION = "wrong_condition"
    ARTEFACT = "artefact"
    KNOWN = "known"
    NOT_MINE = "not_mine"
    OTHER = "other"
    NOTE = "note"


class Review(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a person says about one alert, published on `review/<alert_id>`, not retained."""

    schema: Annotated[Literal["tocsin/review/v1"], Meta(description="Schema and version.")] = (
        "tocsin/review/v1"
    )
    id: Annotated[
        str, Meta(min_length=1, max_length=64, description="Chosen by the sender, unique.")
    ]
    alert_id: Annotated[
        str,
        Meta(pattern=r"^[0-9a-f]{32}$(?!\n)", description="The alert; also the end of the topic."),
    ]
    who: Annotated[str, Meta(min_length=1, max_length=128, description="A staff pseudonym.")]
    role: Annotated[str, Meta(min_length=1, max_length=64, description="In which role.")]
    finding: Annotated[
        Finding,
        Meta(
            description="`true_alarm`, `false_alarm` (the condition was not there), "
            "`wrong_condition` (another one was), `artefact`, `known` (true, and of no use here), "
            "`not_mine` (says nothing of the alarm), `other`, `note` (a note alone)."
        ),
    ]
    note: Annotated[str, Meta(max_length=2000, description="In the person's words.")] = ""
    at: Annotated[datetime, Meta(tz=True, description="UTC at which it was said.")]


_DECODER = msgspec.json.Decoder(Review)


def encode_review(review: Review) -> bytes:
    """Encode as UTF-8 JSON."""
    return msgspec.json.encode(review)


def decode_review(payload: bytes) -> Review:
    """Decode and validate.

    Raises
    ------
    ValueError
        If it is too long, not JSON, or does not satisfy the schema.
    """
    if len(payload) > MAX_REVIEW_BYTES:
        raise ValueError(f"{len(payload)} bytes, at most {MAX_REVIEW_BYTES} expected")
    return _DECODER.decode(payload)

"""The response: what the agent did with an acknowledgement, and why not if it refused it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.messages.active import AlertState


class Outcome(StrEnum):
    """What became of an acknowledgement; all but the first two are refusals."""

    APPLIED = "applied"
    ALREADY_APPLIED = "already_applied"
    MALFORMED = "malformed"
    UNKNOWN_ALERT = "unknown_alert"
    OTHER_ALERT = "other_alert"
    ALREADY_CLOSED = "already_closed"
    HELD_BY_ANOTHER = "held_by_another"
    NOT_HELD = "not_held"
    ROLE_NOT_PERMITTED = "role_not_permitted"
    SIGNATURE_REFUSED = "signature_refused"
    OUTDATED = "outdated"

    @property
    def refused(self) -> bool:
        """True if the acknowledgement changed nothing."""
        return self not in {Outcome.APPLIED, Outcome.ALREADY_APPLIED}


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's answer to an acknowledgement, published on `response/<alert_id>`."""

    schema: Annotated[Literal["tocsin/response/v1"], Meta(description="Schema and version.")] = (
        "tocsin/response/v1"
    )
    id: Annotated[
        str | None,
        Meta(description="Of the acknowledgement; null if it could not be read."),
    ]
    alert_id: Annotated[str, Meta(description="As in the topic.")]
    action: Annotated[Action | None, Meta(description="As in the acknowledgement.")] = None
    who: Annotated[str | None, Meta(description="As in the acknowledgement.")] = None
    outcome: Annotated[
        Outcome,
        Meta(
            description="`applied`; `already_applied` (same id again); refused: `malformed`, "
            "`unknown_alert`, `other_alert` (topic and document name different alerts), "
            "`already_closed`, `held_by_another`, `not_held` (given back by somebody who does not "
            "have it), `role_not_permitted`, `signature_refused` (no signature that the device "
            "accepts; `text` says why), `outdated` (accepted before the alert got graver or "
            "began again; a context that was stated before the one that applies)."
        ),
    ]
    text: Annotated[str, Meta(description="The outcome in one plain sentence.")]
    state: Annotated[
        AlertState | None, Meta(description="State of the alert now; null if unknown.")
    ] = None
    holder: Annotated[str | None, Meta(description="Who has the alert now.")] = None
    at: Annotated[datetime, Meta(tz=True, description="UTC at which the agent answered.")]


def encode_response(response: Response) -> bytes:
    """Encode as UTF-8 JSON."""
    return msgspec.json.encode(response)


def decode_response(payload: bytes) -> Response:
    """Decode and validate.

    Raises
    ------
    msgspec.ValidationError
        If it does not satisfy the schema; `msgspec.DecodeError` if it is not JSON.
    """
    return msgspec.json.decode(payload, type=Response)

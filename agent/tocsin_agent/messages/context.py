"""The context message: what is known of the patient, and changes which alarms make sense."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_CONTEXT_BYTES = 8192
MAX_AHEAD = timedelta(minutes=5)
"""A context that was stated so far in the future is refused: a clock is wrong."""
MAX_DO_NOT_ALARM = timedelta(hours=72)
"""An alarm cannot be switched off for longer at a time."""


class AgeClass(StrEnum):
    """Which table the limits of rates and pauses come from."""

    ADULT = "adult"
    CHILD = "child"
    NEONATE = "neonate"


class DoNotAlarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alarm that is switched off for some time."""

    code: Annotated[
        str, Meta(min_length=1, max_length=64, description="The alarm; not of high priority.")
    ]
    until: Annotated[datetime, Meta(tz=True, description="UTC from which on it is raised again.")]


class PatientContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of a patient."""

    age: Annotated[
        AgeClass,
        Meta(description="Age class: the limits of rates and pauses that are at their default."),
    ] = AgeClass.ADULT
    paced: Annotated[
        bool,
        Meta(
            description="A ventricular pacemaker, whose beats are wide: frequent ventricular "
            "beats, couplets, bigeminy and runs below the rate of a tachycardia raise no alarm."
        ),
    ] = False
    atrial_fibrillation: Annotated[
        bool, Meta(description="Known and permanent: it raises an alarm only on its rate.")
    ] = False
    usual_rate_bpm: Annotated[
        Annotated[float, Meta(ge=30, le=220)] | None,
        Meta(description="Usual heart rate at rest: rates within 20 % of it raise no alarm."),
    ] = None
    do_not_alarm: Annotated[
        tuple[DoNotAlarm, ...],
        Meta(
            max_length=16, description="Alarms that are switched off, each with `code` and `until`."
        ),
    ] = ()


class ContextMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The context of the patient of a device, retained on its context topic.

    It replaces the context of the configuration as a whole; without a `context` that one applies
    again. The agent keeps it over a restart. An empty payload has the effect of one without a
    context, but does not say who removed it, and reaches no agent that is away.
    """

    schema: Annotated[Literal["tocsin/context/v1"], Meta(description="Schema and version.")] = (
        "tocsin/context/v1"
    )
    id: Annotated[
        str, Meta(min_length=1, max_length=64, description="Chosen by the sender, unique.")
    ]
    who: Annotated[str, Meta(min_length=1, max_length=128, description="A staff pseudonym.")]
    role: Annotated[
        str,
        Meta(min_length=1, max_length=64, description="One of the agent's `patient.roles`."),
    ]
    patient: Annotated[
        str | None,
        Meta(description="Whose context it is; refused if the device has another patient."),
    ] = None
    at: Annotated[
        datetime,
        Meta(
            tz=True,
            description="UTC at which the person stated it; refused if a later one applies.",
        ),
    ]
    until: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(
            description="UTC from which on the configured context applies again; unset: when it "
            "is replaced."
        ),
    ] = None
    context: Annotated[
        PatientContext | None,
        Meta(description="What is known; null: what is configured."),
    ] = None
    signature: Annotated[
        Annotated[str, Meta(max_length=4096)] | None,
        Meta(description="Reserved: of the other fields."),
    ] = None


_DECODER = msgspec.json.Decoder(ContextMessage)


def encode_context(message: ContextMessage) -> bytes:
    """Encode as UTF-8 JSON."""
    return msgspec.json.encode(message)


def decode_context(payload: bytes) -> ContextMessage:
    """Decode and validate.

    Raises
    ------
    ValueError
        If it is too long, not JSON, or does not satisfy the schema.
    """
    if len(payload) > MAX_CONTEXT_BYTES:
        raise ValueError(f"{len(payload)} bytes, at most {MAX_CONTEXT_BYTES} expected")
    try:
        return _DECODER.decode(payload)
    except RecursionError:
        raise ValueError("it is nested too deep") from None

"""The alert document: what a team receives, the same for onset, update and end.

A version of the schema gains optional fields and loses none. What it gains is sent beside the
document (`messages.additions`), for receivers that refuse what they do not know.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

SCHEMA = "tocsin/alert/v1"

Key: TypeAlias = tuple[str, int]
"""(`alert_id`, `sequence`): what makes a document unique."""


UNSEEN_ENDS = frozenset({"the recording ended", "not known whether it lasts"})
"""Reasons of an end, in `evidence.measured.ended`, that do not say that the condition is over."""

_MOST_DELAY = timedelta(seconds=1)  # of the filter that a strip comes from


class Priority(StrEnum):
    """Alarm priority after IEC 60601-1-8, the graver first."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for the gravest; sorts a queue."""
        return _RANK[self]


_RANK = {Priority.HIGH: 0, Priority.MEDIUM: 1, Priority.LOW: 2}


class Phase(StrEnum):
    """Which part of its episode an alert reports."""

    ONSET = "onset"
    UPDATE = "update"
    END = "end"


class Kind(StrEnum):
    """Whether an alert concerns the patient or the equipment."""

    PHYSIOLOGICAL = "physiological"
    TECHNICAL = "technical"


class Audience(StrEnum):
    """Who an alert was sent to."""

    TEAM = "team"
    BEDSIDE = "bedside"


class ClockState(StrEnum):
    """Whether the times of a document can be right."""

    SYNCHRONISED = "synchronised"
    UNSYNCHRONISED = "unsynchronised"
    CORRECTED = "corrected"


class StripBeat(msgspec.Struct, frozen=True):
    """A labelled beat of a strip."""

    row: Annotated[int, Meta(ge=0, description="Row of the strip at which its R peak lies.")]
    label: Annotated[
        str, Meta(min_length=1, max_length=8, description="`N`, `S`, `V`, `F` or `Q` (AAMI EC57).")
    ]


class Strip(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of the ECG, small enough to be sent with the alert."""

    leads: Annotated[tuple[str, ...], Meta(description="Lead names, in the order of the columns.")]
    rate_hz: Annotated[float, Meta(gt=0, description="Samples per second and lead.")]
    start_index: Annotated[int, Meta(description="Source sample index of the first row.")]
    gain_per_mv: Annotated[float, Meta(gt=0, description="Counts per millivolt.")]
    data: Annotated[
        str,
        Meta(
            description="Base64 of little-endian int16, row by row (all leads of one instant, "
            "then the next); -32768 is a missing sample."
        ),
    ]
    beats: Annotated[
        tuple[StripBeat, ...],
        Meta(description="The beats of the strip that were labelled when the alert was made."),
    ] = ()
    onset_row: Annotated[
        int | None, Meta(description="Row of the onset; absent if the onset is not in the strip.")
    ] = None

    @classmethod
    def encode(
        cls,
        leads: tuple[str, ...],
        rate_hz: float,
        start_index: int,
        samples_mv: NDArray[Any],
        *,
        beats: tuple[StripBeat, ...] = (),
        onset_row: int | None = None,
    ) -> Strip:
        """Pack samples of shape (n, leads), in mV with NaN for missing, at 1 µV a count."""
        counts = np.clip(np.rint(samples_mv * 1000.0), -32767, 32767)
        packed = np.where(np.isnan(counts), -32768, counts).astype("<i2")
        data = base64.b64encode(packed.tobytes()).decode()
        return cls(leads, rate_hz, start_index, 1000.0, data, beats, onset_row)

    def decode(self) -> NDArray[np.float64]:
        """Unpack to mV, shape (n, leads), NaN where missing."""
        packed = np.frombuffer(base64.b64decode(self.data), dtype="<i2")
        counts = packed.reshape(-1, len(self.leads)).astype(np.float64)
        return np.where(counts == -32768, np.nan, counts) / self.gain_per_mv


class Codes(msgspec.Struct, frozen=True, omit_defaults=True):
    """The condition in public code systems; a code that is not certain is left out."""

    mdc: Annotated[
        int | None, Meta(description="ISO/IEEE 11073-10101 context-free code (MDC).")
    ] = None
    snomed_ct: Annotated[str | None, Meta(description="SNOMED CT concept id.")] = None


class Evidence(msgspec.Struct, frozen=True):
    """Why the alarm was raised: the rule, its limits and the values measured against them."""

    rule: Annotated[str, Meta(description="The rule in words, with its limits filled in.")]
    limits: Annotated[dict[str, float], Meta(description="Each limit by name, unit in the name.")]
    measured: Annotated[
        dict[str, float | str], Meta(description="Each measured value by name, unit in the name.")
    ]
    model: Annotated[
        str | None,
        Meta(
            description="`name@sha256-prefix` of the model that the alert rests on; null where it "
            "rests on none."
        ),
    ] = None
    probabilities: Annotated[
        dict[str, float], Meta(description="Mean class probabilities of the beats that count.")
    ] = {}


class SignalQuality(msgspec.Struct, frozen=True):
    """The signal quality of each lead when the alarm was raised."""

    leads: Annotated[
        dict[str, float], Meta(description="0 (unreadable) to 1 (clean), by lead name.")
    ]
    used: Annotated[str | None, Meta(description="The lead that the beat labels are from.")] = None
    trusted: Annotated[bool, Meta(description="False where the last beat may be noise.")] = True


class PresenceView(msgspec.Struct, frozen=True):
    """Whether a cardiologist was present when the alert was sent, and so who received it."""

    attended: Annotated[bool, Meta(description="True under a live lease.")]
    audience: Annotated[Audience, Meta(description="`bedside` under a live lease, else `team`.")]
    reason: Annotated[
        str, Meta(description="`lease`, `none`, `expired`, `released`, `malformed` or `unknown`.")
    ]
    role: Annotated[str | None, Meta(description="Role of the lease's holder.")] = None
    id: Annotated[str | None, Meta(description="Id of the lease's holder.")] = None
    handover: Annotated[
        bool,
        Meta(description="True if the bedside received it first and the lease has ended since."),
    ] = False


class Addressed(msgspec.Struct, frozen=True):
    """Which level of the chain was addressed, and when."""

    level: Annotated[str, Meta(description="Name of the level.")]
    at: Annotated[datetime, Meta(tz=True, description="UTC.")]


class Escalation(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How far an alert that nobody accepted has come; absent fields have their defaults."""

    level: Annotated[
        int, Meta(ge=0, description="Levels that were added after the first; 0 at first.")
    ]
    repeat: Annotated[
        int,
        Meta(
            ge=0,
            description="0 for the first transmission to a level. A repeat "
            "has the `alert_id` and `sequence` "
            "of the document that it repeats; a receiver that sounds an alarm again keys on "
            "(`alert_id`, `sequence`, `repeat`).",
        ),
    ] = 0
    to: Annotated[
        str | None,
        Meta(description="Name of the level that this copy was sent to; null at first."),
    ] = None
    addressed: Annotated[
        tuple[Addressed, ...], Meta(description="Every level addressed so far, in order.")
    ] = ()


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert document. A receiver that keys on (`alert_id`, `sequence`) sees each once."""

    schema: Annotated[
        str, Meta(pattern=r"^tocsin/alert/v1$(?!\n)", description="Schema and version.")
    ] = SCHEMA
    alert_id: Annotated[
        str,
        Meta(
            pattern=r"^[0-9a-f]{32}$(?!\n)",
            description="Derived from stream, code and onset sample: a replay gives the same id.",
        ),
    ]
    sequence: Annotated[int, Meta(ge=1, description="1 for the onset, then counting up.")]
    phase: Annotated[Phase, Meta(description="`onset`, `update` or `end` of the episode.")]
    kind: Annotated[Kind, Meta(description="Patient or equipment.")]
    code: Annotated[
        str, Meta(pattern=r"^[a-z_]+$(?!\n)", description="The condition; see the reference.")
    ]
    codes: Annotated[Codes, Meta(description="The condition in public code systems.")]
    priority: Annotated[Priority, Meta(description="After IEC 60601-1-8.")]
    onset_index: Annotated[int, Meta(description="Source sample index of the onset.")]
    detected_index: Annotated[
        int, Meta(description="Source sample index at which it was detected.")
    ]
    onset_at: Annotated[datetime, Meta(tz=True, description="UTC of the onset sample.")]
    detected_at: Annotated[
        datetime, Meta(tz=True, description="UTC of the sample at which it was detected.")
    ]
    clock: Annotated[
        ClockState,
        Meta(
            description="`unsynchronised`: the clock of the gateway had not been set, the times "
            "are wrong; a document with right ones follows once it is. `corrected`: the clock was "
            "set, and the times of earlier documents of this alert were wrong."
        ),
    ] = ClockState.SYNCHRONISED
    published_at: Annotated[
        datetime | None, Meta(description="UTC at which the agent sent it to the broker.")
    ] = None
    device: Annotated[str, Meta(description="Device name, as in the topic.")]
    site: Annotated[str, Meta(description="Site name, as in the topic.")]
    stream: Annotated[str, Meta(description="The recording that the sample indices belong to.")]
    synthetic: Annotated[bool, Meta(description="True if the samples are not from a patient.")]
    patient: Annotated[str | None, Meta(description="A pseudonym, never a name.")] = None
    location: Annotated[
        str | None, Meta(description="Where the patient is, for those who respond.")
    ] = None
    heart_rate_bpm: Annotated[
        float | None, Meta(description="From the last beats; null if unknown.")
    ] = None
    evidence: Annotated[Evidence, Meta(description="Why the alarm was raised.")]
    signal_quality: Annotated[SignalQuality, Meta(description="How well the ECG could be read.")]
    text: Annotated[str, Meta(description="One plain sentence.")]
    strip: Annotated[
        Strip | None,
        Meta(
            description="The ECG before `detected_at`: with every onset, and with every update and "
            "end of high priority."
        ),
    ] = None
    presence: Annotated[PresenceView | None, Meta(description="Set when the alert is sent.")] = None
    escalation: Annotated[Escalation, Meta(description="How far it has been escalated.")] = (
        Escalation(level=0)
    )

    @property
    def key(self) -> Key:
        """(`alert_id`, `sequence`)."""
        return self.alert_id, self.sequence


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Alert)


def encode_alert(alert: Alert) -> bytes:
    """Encode a document as UTF-8 JSON."""
    return _ENCODER.encode(alert)


def decode_alert(payload: bytes) -> Alert:
    """Decode and validate a document.

    Raises
    ------
    msgspec.ValidationError
        If it does not satisfy the schema; `msgspec.DecodeError` if it is not JSON.
    """
    return _DECODER.decode(payload)


def make_alert_id(stream_id: str, code: str, onset_index: int) -> str:
    """Return the id of an episode, the same in every run over the same stream."""
    key = f"{stream_id}\x1f{code}\x1f{onset_index}".encode()
    return hashlib.sha256(key).hexdigest()[:32]


def begins_at(alert: Alert, strip: Strip, rows: int) -> datetime:
    """Return the UTC of the first row of a strip.

    A strip ends before `detected_index`, by the delay of the filter that it comes from. Where the
    onset is not in it, the sample indices say how long before, in seconds by onset and detection.
    """
    if strip.onset_row is not None:
        return alert.onset_at - timedelta(seconds=strip.onset_row / strip.rate_hz)
    length = timedelta(seconds=rows / strip.rate_hz)
    elapsed = alert.detected_index - alert.onset_index
    if elapsed > 0:
        # Not by the length of a sample, which would be rounded to 1 µs.
        samples = (alert.detected_index - strip.start_index) / elapsed
        since = (alert.detected_at - alert.onset_at) * samples
        if length <= since <= length + _MOST_DELAY:  # else the clock was set in between
            return alert.detected_at - since
    return alert.detected_at - length

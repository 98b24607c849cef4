"""The trend message: one minute of a patient in numbers, and the last hour's burdens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class HeartRate(msgspec.Struct, frozen=True):
    """The heart rate of a minute, per minute."""

    mean: Annotated[
        float, Meta(description="Beats over the time that their RR intervals take, both trusted.")
    ]
    min: Annotated[float, Meta(description="Lowest median of eight RR intervals, as a rate.")]
    max: Annotated[float, Meta(description="Highest median of eight RR intervals, as a rate.")]


class LongestRun(msgspec.Struct, frozen=True):
    """The longest row of ventricular beats in a minute."""

    beats: Annotated[int, Meta(ge=2, description="Ventricular beats in a row.")]
    rate_bpm: Annotated[float, Meta(description="Their mean rate.")]


class StLevel(msgspec.Struct, frozen=True):
    """The ST level of one lead, 60 ms after the QRS, against the level just before it."""

    level_mv: Annotated[float, Meta(description="Median over the normal beats of the minute.")]
    baseline_mv: Annotated[
        float | None,
        Meta(
            description="The patient's own: median of the first five minutes of the stream with "
            "such a level; null until then."
        ),
    ] = None
    change_mv: Annotated[
        float | None, Meta(description="`level_mv` less `baseline_mv`; null without a baseline.")
    ] = None


class Variability(msgspec.Struct, frozen=True):
    """Heart rate variability over five minutes, of intervals between two normal beats only.

    Minutes in which atrial fibrillation was proven are left out.
    """

    sdnn_ms: Annotated[float, Meta(description="Standard deviation of the intervals.")]
    rmssd_ms: Annotated[
        float, Meta(description="Root mean square of the differences of successive intervals.")
    ]
    intervals: Annotated[int, Meta(ge=2, description="How many intervals it rests on.")]


class TrendValues(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured in a minute of a stream; a beat belongs to the minute that decided it.

    Per-hour values are over the last hour, or over what of it was monitored.
    """

    signal_s: Annotated[
        float, Meta(ge=0, description="Seconds of the minute in which a lead carried an ECG.")
    ]
    heart_rate_bpm: Annotated[
        HeartRate | None, Meta(description="Null where no interval between trusted beats is known.")
    ]
    beats: Annotated[int, Meta(ge=0, description="Trusted beats.")]
    low_trust_beats: Annotated[
        int, Meta(ge=0, description="Beats that may be noise; they count nowhere else.")
    ]
    ventricular_beats: Annotated[int, Meta(ge=0, description="Trusted beats labelled V.")]
    supraventricular_beats: Annotated[int, Meta(ge=0, description="Trusted beats labelled S.")]
    ventricular_per_hour: Annotated[
        float | None, Meta(description="Over the last hour; null without an ECG.")
    ]
    supraventricular_per_hour: Annotated[
        float | None, Meta(description="Over the last hour; null without an ECG.")
    ]
    longest_run: Annotated[
        LongestRun | None, Meta(description="From couplets on; null if there was none.")
    ]
    pauses: Annotated[int, Meta(ge=0, description="Pauses and asystoles that began.")]
    longest_rr_s: Annotated[
        float | None, Meta(description="Longest time without a beat, as far as known.")
    ]
    atrial_fibrillation_s: Annotated[
        float | None,
        Meta(
            description="Seconds of atrial fibrillation proven in this minute; the proof of an "
            "onset includes the half minute before it. Null where the model is missing."
        ),
    ]
    atrial_fibrillation_percent: Annotated[
        float | None,
        Meta(description="AF burden in percent: share of the last hour; null if unknown."),
    ]
    st: Annotated[
        dict[str, StLevel],
        Meta(description="By lead; absent with fewer than ten normal beats. Experimental."),
    ]
    variability: Annotated[
        Variability | None,
        Meta(description="Over the last five minutes; null with less than half of them."),
    ]
    quality: Annotated[
        dict[str, float], Meta(description="Mean quality of each lead, 0 to 1, as in alerts.")
    ]


class Trend(TrendValues, frozen=True, kw_only=True):
    """One minute of a patient, published retained on the trend topic."""

    schema: Annotated[Literal["tocsin/trend/v1"], Meta(description="Schema and version.")] = (
        "tocsin/trend/v1"
    )
    site: Annotated[str, Meta(description="As in the topic.")]
    device: Annotated[str, Meta(description="As in the topic.")]
    stream: Annotated[str, Meta(description="As in the alerts.")]
    synthetic: Annotated[bool, Meta(description="True if the samples are not from a patient.")]
    patient: Annotated[str | None, Meta(description="As in the alerts.")] = None
    location: Annotated[str | None, Meta(description="As in the alerts.")] = None
    from_index: Annotated[int, Meta(description="Source sample index at which the minute begins.")]
    to_index: Annotated[int, Meta(description="Source sample index at which it ends, exclusive.")]
    from_at: Annotated[datetime, Meta(tz=True, description="UTC of `from_index`.")]
    to_at: Annotated[datetime, Meta(tz=True, description="UTC of `to_index`.")]


_DECODER = msgspec.json.Decoder(Trend)


def encode_trend(trend: Trend) -> bytes:
    """Encode as UTF-8 JSON."""
    return msgspec.json.encode(trend)


def decode_trend(payload: bytes) -> Trend:
    """Decode and validate.

    Raises
    ------
    msgspec.ValidationError
        If it does not satisfy the schema; `msgspec.DecodeError` if it is not JSON.
    """
    return _DECODER.decode(payload)

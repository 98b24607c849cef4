"""The limits of the alarms, as section `limits` of the configuration sets them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

FurtherAlarm: TypeAlias = Literal[
    "supraventricular_run",
    "supraventricular_tachycardia",
    "accelerated_ventricular_rhythm",
    "r_on_t",
    "irregular",
]
"""The alarms that are off unless `limits.further_alarms` names them."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every limit of an alarm, one field each; an alert states those that applied."""

    asystole_s: Annotated[
        float,
        Meta(ge=2.5, le=10, description="Seconds without a QRS, signal present: asystole."),
    ] = 4.0
    pause_s: Annotated[
        float, Meta(ge=1.5, le=6, description="An RR interval longer than this is a pause.")
    ] = 2.5
    bradycardia_bpm: Annotated[
        float, Meta(ge=20, le=60, description="Extreme bradycardia is below this heart rate.")
    ] = 40.0
    bradycardia_beats: Annotated[
        int, Meta(ge=2, le=20, description="Beats in a row below it that raise the alarm.")
    ] = 5
    tachycardia_bpm: Annotated[
        float, Meta(ge=100, le=250, description="Extreme tachycardia is above this heart rate.")
    ] = 140.0
    tachycardia_beats: Annotated[
        int, Meta(ge=4, le=60, description="Beats in a row above it that raise the alarm.")
    ] = 11
    vt_beats: Annotated[
        int, Meta(ge=4, le=30, description="Ventricular beats in a row that are a tachycardia.")
    ] = 5
    vt_bpm: Annotated[
        float, Meta(ge=60, le=200, description="Ventricular tachycardia is above this rate.")
    ] = 100.0
    bigeminy_beats: Annotated[
        int,
        Meta(ge=2, le=20, description="Ventricular beats, each after one other beat: bigeminy."),
    ] = 4
    frequent_per_min: Annotated[
        int, Meta(ge=3, le=60, description="Ventricular beats in a minute that are frequent.")
    ] = 10
    vf_s: Annotated[
        float,
        Meta(ge=2, le=10, description="Seconds of the waveform of ventricular fibrillation."),
    ] = 4.0
    af_s: Annotated[float, Meta(ge=15, le=300, description="Seconds of atrial fibrillation.")] = (
        30.0
    )
    lead_off_s: Annotated[
        float,
        Meta(ge=0.5, le=10, description="A lead missing, flat or railed for so long is off."),
    ] = 1.5
    unusable_s: Annotated[
        float,
        Meta(ge=1, le=30, description="Without a readable lead for so long, the ECG is unusable."),
    ] = 5.0

    def __post_init__(self) -> None:
        if self.pause_s >= self.asystole_s:
            raise ValueError("pause_s is not below asystole_s: no pause could be raised")

    trend_alarms: Annotated[
        Literal["off", "on", "experimental"],
        Meta(description="Alarms on trends: none, those of ectopy and AF burden, or ST too."),
    ] = "off"
    trend_ectopy_per_hour: Annotated[
        float, Meta(ge=1, le=10_000, description="Ventricular beats per hour that are frequent.")
    ] = 60.0
    trend_af_percent: Annotated[
        float, Meta(gt=0, le=100, description="Share of an hour in atrial fibrillation, %.")
    ] = 10.0
    trend_st_mv: Annotated[
        float, Meta(ge=0.05, le=1, description="Change of an ST level, for a minute.")
    ] = 0.1
    further_alarms: Annotated[
        tuple[FurtherAlarm, ...],
        Meta(description="Alarms of the rhythm to raise beside those that are always on."),
    ] = ()
    svt_beats: Annotated[
        int,
        Meta(ge=4, le=60, description="Beats of a run that are a supraventricular tachycardia."),
    ] = 8
    svt_bpm: Annotated[
        float,
        Meta(ge=100, le=250, description="Supraventricular tachycardia is above this rate."),
    ] = 150.0
    irregular_percent: Annotated[
        float,
        Meta(ge=5, le=50, description="Difference from one interval to the next: irregular, %."),
    ] = 15.0

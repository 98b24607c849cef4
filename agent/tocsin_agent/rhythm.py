"""Rhythm: from labelled beats and the passing of stream time to findings."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every limit that an alarm is judged by; what rang says which one it was."""

    asystole_s: Annotated[
        float,
        Meta(ge=2.5, le=10, description="No QRS for so many seconds, signal present: asystole."),
    ] = 4.0
    pause_s: Annotated[
        float, Meta(ge=1.5, le=6, description="An RR interval longer than this is a pause.")
    ] = 2.5
    bradycardia_bpm: Annotated[
        float, Meta(ge=20, le=60, description="Extreme bradycardia is below this heart rate.")
    ] = 40.0
    bradycardia_beats: Annotated[
        int, Meta(ge=2, le=20, description="Beats in a row below it before it rings.")
    ] = 5
    tachycardia_bpm: Annotated[
        float, Meta(ge=100, le=250, description="Extreme tachycardia is above this heart rate.")
    ] = 140.0
    tachycardia_beats: Annotated[
        int, Meta(ge=4, le=60, description="Beats in a row above it before it rings.")
    ] = 17
    vt_beats: Annotated[
        int, Meta(ge=4, le=30, description="Ventricular beats in a row that are a tachycardia.")
    ] = 5
    vt_bpm: Annotated[
        float, Meta(ge=60, le=200, description="Ventricular tachycardia is above this rate.")
    ] = 100.0
    bigeminy_pairs: Annotated[
        int, Meta(ge=2, le=20, description="Ventricular beats, each after one other: bigeminy.")
    ] = 4
    lead_off_s: Annotated[
        float,
        Meta(ge=0.5, le=10, description="A lead missing, flat or railed for this long rings."),
    ] = 1.5
    unusable_s: Annotated[
        float,
        Meta(ge=1, le=30, description="All leads unreadable for this long ring."),
    ] = 5.0

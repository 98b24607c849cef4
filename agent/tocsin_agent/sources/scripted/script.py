"""The script of a synthetic patient: rhythms in order, disturbances at known times."""

from __future__ import annotations

import hashlib
import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from tocsin_agent.errors import SourceError, SourceFault


class ScriptedRhythm(StrEnum):
    """What the heart does during a segment."""

    SINUS = "sinus"
    ATRIAL_FIBRILLATION = "atrial_fibrillation"
    VENTRICULAR_TACHYCARDIA = "ventricular_tachycardia"
    VENTRICULAR_FIBRILLATION = "ventricular_fibrillation"
    ASYSTOLE = "asystole"


class Disturbance(StrEnum):
    """What the equipment does during an event."""

    BASELINE_WANDER = "baseline_wander"  # breathing and slow drift
    MUSCLE = "muscle"  # broadband, in bursts
    MAINS = "mains"  # a sinusoid at `frequency_hz`
    MOTION = "motion"  # electrode motion: bumps as wide as a QRS-T
    LEAD_FLAT = "lead_flat"  # an idle amplifier input: 0 mV
    LEAD_MISSING = "lead_missing"  # reported by the front end: NaN
    LEAD_RAIL = "lead_rail"  # an open input pulled to the end of the range
    SATURATION = "saturation"  # the gain is too high: clipped at both ends of the range
    GAP = "gap"  # samples lost in transit: start_index jumps


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rhythm for some time."""

    rhythm: Annotated[ScriptedRhythm, Meta(description="What the heart does.")] = (
        ScriptedRhythm.SINUS
    )
    seconds: Annotated[float, Meta(gt=0, description="How long.")]
    rate_bpm: Annotated[
        Annotated[float, Meta(gt=5, le=400)] | None,
        Meta(description="Heart rate; 75 by default, 180 in tachycardia."),
    ] = None
    variability: Annotated[
        float, Meta(ge=0, le=0.2, description="Standard deviation of RR over its mean.")
    ] = 0.03
    pattern: Annotated[
        str,
        Meta(
            pattern=r"^[NSVF-]+$(?!\n)",
            description="Beats, repeated: N, S, V, F, and `-` for a dropped one.",
        ),
    ] = "N"
    ectopic_bpm: Annotated[
        float, Meta(gt=5, le=400, description="Rate within a run of V beats.")
    ] = 150.0
    frequency_hz: Annotated[
        float, Meta(ge=2, le=10, description="Mean frequency of fibrillation.")
    ] = 5.0
    amplitude_mv: Annotated[
        float, Meta(gt=0, le=5, description="Peak amplitude of fibrillation.")
    ] = 0.6
    p_waves: Annotated[bool, Meta(description="Asystole: P waves continue.")] = False


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One disturbance at a known time, independent of the rhythm."""

    kind: Annotated[Disturbance, Meta(description="What happens.")]
    at_s: Annotated[float, Meta(ge=0, description="When it begins.")]
    seconds: Annotated[float, Meta(gt=0, description="How long it lasts.")]
    leads: Annotated[tuple[str, ...], Meta(description="Which leads; empty means all.")] = ()
    amplitude_mv: Annotated[
        float, Meta(gt=0, le=100, description="Noise: peak, or standard deviation for muscle.")
    ] = 0.2
    frequency_hz: Annotated[float, Meta(gt=0, description="Mains frequency.")] = 50.0


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole synthetic recording; the same script always gives the same samples."""

    name: Annotated[
        str, Meta(pattern=r"^[a-z0-9_]{1,40}$(?!\n)", description="Names the recording.")
    ]
    segments: Annotated[tuple[Segment, ...], Meta(min_length=1, description="In order.")]
    events: Annotated[tuple[Event, ...], Meta(description="At their times.")] = ()
    rate_hz: Annotated[float, Meta(ge=100, le=2000, description="Samples per second.")] = 360.0
    leads: Annotated[
        tuple[str, ...], Meta(min_length=1, max_length=12, description="Standard lead names.")
    ] = ("II", "V1")
    seed: Annotated[int, Meta(ge=0, description="Seed of variability and noise.")] = 1
    noise_mv: Annotated[
        float, Meta(ge=0, le=1, description="Standard deviation of the amplifier noise.")
    ] = 0.008

    @property
    def samples(self) -> int:
        """Number of samples, including those lost in gaps."""
        return math.floor(sum(segment.seconds for segment in self.segments) * self.rate_hz)

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of a hash of the script."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]


def load_script(path: Path) -> Script:
    """Read a script from a TOML file; its keys are the fields of `Script`.

    Raises
    ------
    SourceError
        `NOT_FOUND` or `MALFORMED`, naming file and key.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Script)
    except OSError as error:
        raise SourceError(
            SourceFault.NOT_FOUND, f"the scenario {path} cannot be read: {error.strerror}"
        ) from error
    except (msgspec.DecodeError, ValueError) as error:
        raise SourceError(SourceFault.MALFORMED, f"{path}: {error}") from error


def scenario(name: str) -> Script:
    """Return a built-in script.

    Raises
    ------
    SourceError
        `NOT_FOUND`, with the known names.
    """
    if name not in SCENARIOS:
        raise SourceError(
            SourceFault.NOT_FOUND,
            f"no scenario {name!r}; known are {', '.join(SCENARIOS)}, or a TOML file",
        )
    return SCENARIOS[name]


def _calm(seconds: float = 20.0) -> Segment:
    return Segment(seconds=seconds)


def _ectopy(pattern: str, seconds: float) -> Segment:
    return Segment(seconds=seconds, pattern=pattern)


_VT = Segment(rhythm=ScriptedRhythm.VENTRICULAR_TACHYCARDIA, seconds=12.0)
_VF = Segment(rhythm=ScriptedRhythm.VENTRICULAR_FIBRILLATION, seconds=15.0)
_ASYSTOLE = Segment(rhythm=ScriptedRhythm.ASYSTOLE, seconds=10.0)
_RUN = "NNNNNNNNVVVV"
_PAUSE = "NNNNNNNNNNNNNNN----"

SCENARIOS: dict[str, Script] = {
    script.name: script
    for script in (
        Script(
            name="demo",
            segments=(
                _calm(),
                _ectopy("NNNNNNV", 15.0),
                _ectopy("NNNNNNVV", 15.0),
                _calm(10.0),
                _VT,
                _calm(15.0),
                _VF,
                _ASYSTOLE,
                _calm(15.0),
            ),
            events=(Event(kind=Disturbance.BASELINE_WANDER, at_s=0.0, seconds=127.0),),
        ),
        Script(
            name="all_alarms",
            segments=(
                _calm(30.0),
                _ectopy("NNNNNNNVV", 20.0),
                _calm(15.0),
                _ectopy("NV", 20.0),
                _calm(15.0),
                _ectopy("NNV", 20.0),
                _calm(15.0),
                _ectopy(_RUN, 20.0),
                _calm(15.0),
                _VT,
                _calm(20.0),
                _VF,
                _calm(20.0),
                _ASYSTOLE,
                _calm(20.0),
                _ectopy(_PAUSE, 30.0),
                _calm(20.0),
                Segment(seconds=25.0, rate_bpm=32.0),
                _calm(20.0),
                Segment(seconds=25.0, rate_bpm=165.0),
                _calm(20.0),
                Segment(rhythm=ScriptedRhythm.ATRIAL_FIBRILLATION, seconds=60.0, rate_bpm=105.0),
                _calm(60.0),
            ),
            events=(
                Event(kind=Disturbance.LEAD_MISSING, at_s=475.0, seconds=10.0, leads=("V1",)),
                Event(kind=Disturbance.LEAD_MISSING, at_s=495.0, seconds=10.0),
            ),
        ),
        Script(name="sinus", segments=(_calm(300.0),)),
        Script(
            name="lead_faults",
            segments=(_calm(180.0),),
            events=(
                Event(kind=Disturbance.LEAD_FLAT, at_s=20.0, seconds=10.0, leads=("II",)),
                Event(kind=Disturbance.LEAD_MISSING, at_s=40.0, seconds=10.0, leads=("V1",)),
                Event(kind=Disturbance.LEAD_RAIL, at_s=60.0, seconds=10.0, leads=("II",)),
                Event(kind=Disturbance.LEAD_MISSING, at_s=80.0, seconds=10.0),
                Event(kind=Disturbance.SATURATION, at_s=100.0, seconds=10.0),
                Event(kind=Disturbance.GAP, at_s=120.0, seconds=5.0),
                Event(kind=Disturbance.LEAD_FLAT, at_s=140.0, seconds=10.0),
            ),
        ),
        Script(
            name="noise",
            segments=(_calm(200.0),),
            events=(
                Event(kind=Disturbance.BASELINE_WANDER, at_s=20.0, seconds=25.0, amplitude_mv=0.8),
                Event(kind=Disturbance.MUSCLE, at_s=55.0, seconds=25.0, amplitude_mv=0.2),
                Event(kind=Disturbance.MAINS, at_s=90.0, seconds=25.0, amplitude_mv=0.4),
                Event(kind=Disturbance.MOTION, at_s=125.0, seconds=25.0, amplitude_mv=1.0),
                Event(kind=Disturbance.MUSCLE, at_s=160.0, seconds=20.0, amplitude_mv=3.0),
            ),
        ),
    )
}

"""What leaves a site, field by field: an allow-list. Nothing is exported that is not named here.

Every text is one of a closed list or a pseudonym, every number has a range. So no name, date,
serial of a device or free text can leave, wherever it stands in what the site keeps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from tocsin_agent.lab.annotate import MNEMONICS
from tocsin_agent.messages.alert import Priority
from tocsin_agent.monitor.alarms.table import ALARMS
from tocsin_dsp.signal import FloatArray

LEADS = frozenset(
    [
        *("I", "II", "III", "aVR", "aVL", "aVF", "V", "V1", "V2", "V3", "V4", "V5", "V6"),
        *("MLI", "MLII", "MLIII", "ML2", "ML5", "MV1", "MV2", "MV5", "CM5", "CC5"),
        *("ECG", "ECG1", "ECG2"),
    ]
)
"""Names of leads that are kept; another one becomes `lead1` by its column."""
MEASURED: Mapping[str, tuple[float, float]] = {
    "beats": (0, 10_000),
    "best_quality": (0, 1),
    "coupling_s": (0, 60),
    "difference_percent": (0, 1000),
    "fibrillation": (0, 1),
    "lasting_s": (0, 100_000),
    "level_mv": (-100, 100),
    "likeness_of_5": (0, 1),
    "mean_ventricular": (0, 1),
    "occurrences": (0, 100_000),
    "qt_s": (0, 10),
    "rate_bpm": (0, 600),
    "rr_difference": (0, 10),
    "rr_s": (0, 60),
    "share_with_p": (0, 1),
    "supraventricular_beats": (0, 10_000),
    "verified": (0, 1),
    "without_qrs_s": (0, 1000),
}
"""Measured values of an alert that are kept, with their ranges; others are left out."""
MAX_SECONDS = 120.0
PSEUDONYM = r"^[0-9a-f]{32}$(?!\n)"

Hex = Annotated[str, Meta(pattern=PSEUDONYM)]
Shifted = Annotated[
    str,
    Meta(pattern=r"^2[12]\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$(?!\n)", description="Never real."),
]


class PersonFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`person.json`: the quasi-identifiers, in bands."""

    schema: Literal["tocsin/pool-person/v1"] = "tocsin/pool-person/v1"
    person: Hex
    site: Hex
    age_band: Annotated[str, Meta(pattern=r"^(unknown|\d{1,2}-\d{1,2}|\d{1,3}\+)$(?!\n)")]
    sex: Literal["f", "m", "x", "unknown"]


class ItemFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`ITEM.json` beside the ECG of an episode or of a sample of background."""

    schema: Literal["tocsin/pool-item/v1"] = "tocsin/pool-item/v1"
    item: Hex
    person: Hex
    kind: Literal["episode", "background"]
    at: Annotated[Shifted, Meta(description="Of the first sample: shifted, the same by person.")]
    rate_hz: Annotated[float, Meta(gt=0, le=10_000)]
    samples: Annotated[int, Meta(ge=1)]
    leads: tuple[Annotated[str, Meta(max_length=8)], ...]
    code: str | None = None
    priority: Priority | None = None
    onset_sample: Annotated[int, Meta(ge=0)] | None = None
    heart_rate_bpm: Annotated[float, Meta(ge=0, le=600)] | None = None
    measured: dict[str, float] = {}
    synthetic: bool = False


class Item(NamedTuple):
    """A stretch of ECG of a person as the site has it, before anything is left out.

    Parameters
    ----------
    source : str
        What names it at the site: an alert's id, or a record with a sample.
    kind : str
        `episode` or `background`.
    at : datetime or None
        UTC of the first sample; None where the recording states no date.
    offset_s : float
        Of the first sample from the beginning of its recording, for recordings without a date.
    beats : sequence of (int, str)
        Rows and labels.
    """

    source: str
    kind: Literal["episode", "background"]
    at: datetime | None
    offset_s: float
    rate_hz: float
    leads: tuple[str, ...]
    samples_mv: FloatArray
    beats: Sequence[tuple[int, str]]
    code: str | None = None
    onset_row: int | None = None
    heart_rate_bpm: float | None = None
    measured: Mapping[str, float | str] = {}
    synthetic: bool = False


def age_band(born: int | None, on_year: int, width: int) -> str:
    """Return the band of an age: `60-69`, and `90+` from there on."""
    if born is None:
        return "unknown"
    age = max(on_year - born, 0)
    if age >= 90:
        return "90+"
    low = age // width * width
    return f"{low}-{min(low + width - 1, 89)}"


def lead_names(leads: Sequence[str]) -> tuple[str, ...]:
    """Return the names of leads that are exported."""
    return tuple(name if name in LEADS else f"lead{column}" for column, name in enumerate(leads, 1))


def is_lead(name: str) -> bool:
    """Return whether a name of a lead may be in a release."""
    return name in LEADS or re.fullmatch(r"lead\d{1,2}", name) is not None


def numbers(measured: Mapping[str, float | str]) -> dict[str, float]:
    """Return the measured values that are exported: known names, numbers within their range."""
    kept: dict[str, float] = {}
    for name, (low, high) in MEASURED.items():
        value = measured.get(name)
        if isinstance(value, float | int) and math.isfinite(value) and low <= value <= high:
            kept[name] = round(float(value), 3)
    return kept


def item_file(item: Item, name: str, person: str, at: datetime) -> ItemFile:
    """Return what is written about an item.

    Parameters
    ----------
    item : Item
    name, person : str
        Pseudonyms.
    at : datetime
        Shifted, UTC, of the first sample.
    """
    rate = item.heart_rate_bpm
    code = item.code if item.code in ALARMS else None
    return ItemFile(
        item=name,
        person=person,
        kind=item.kind,
        at=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        rate_hz=float(item.rate_hz),
        samples=len(item.samples_mv),
        leads=lead_names(item.leads),
        code=code,
        priority=ALARMS[code].priority if code else None,
        onset_sample=item.onset_row,
        heart_rate_bpm=round(rate, 1) if rate is not None and 0 <= rate <= 600 else None,
        measured=numbers(item.measured),
        synthetic=item.synthetic,
    )


def beats_of(item: Item) -> list[tuple[int, str]]:
    """Return the beats that are exported: known labels, within the ECG."""
    rows = len(item.samples_mv)
    return [(row, label) for row, label in item.beats if label in MNEMONICS and 0 <= row < rows]

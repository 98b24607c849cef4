"""What a name and a unit in a file say: an ECG lead, a clock, a label, or another signal.

People name signals as they like. A name is split into words; one list of words says ECG, others say
what is no ECG. A name in neither list is `UNKNOWN`: it is taken as an ECG only if the file has no
signal that is named as one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from enum import Enum

MV_PER_COUNT = 1 / 200  # header(5): the gain of a record that states none


class Role(Enum):
    """What a signal or a column is, by its name."""

    ECG = "ECG"
    CHEST = "chest"  # an ECG lead on the chest, or a breathing belt
    UNKNOWN = "unknown"
    CLOCK = "clock"
    COUNTER = "counter"
    LABEL = "label"
    OTHER = "another signal"


_ECG = {
    *["ecg", "ekg", "ecgs", "fecg", "mecg", "electrocardiogram", "elettrocardiogramma", "holter"],
    *[
        "i",
        "ii",
        "iii",
        "avr",
        "avl",
        "avf",
        "avr-",
        "mli",
        "mlii",
        "mliii",
        "ml",
        "ml1",
        "ml2",
        "ml3",
        "ml5",
        "ml6",
        "mv1",
        "mv2",
        "mv4",
        "mv5",
        "mv6",
    ],
    *[
        "mcl",
        "mcl1",
        "mcl5",
        "mcl6",
        "cm1",
        "cm2",
        "cm4",
        "cm5",
        "cm6",
        "cc5",
        "cs2",
        "cb5",
        "d1",
        "d2",
        "d3",
        "d4",
        "vx",
        "vy",
        "vz",
        "es",
        "as",
        "ai",
        "exg",
    ],
    *(f"v{n}{side}" for n in range(1, 10) for side in ("", "r")),
    *["mod.v1", "lead", "einthoven", "mcl-1"],
}
_CLOCK = {
    *[
        "time",
        "timestamp",
        "timestamps",
        "datetime",
        "date",
        "timer",
        "clock",
        "elapsed",
        "epoch",
        "seconds",
        "zeit",
        "datum",
        "uhrzeit",
        "temps",
        "tiempo",
    ]
}
_COUNTER = {
    *[
        "index",
        "idx",
        "row",
        "counter",
        "seq",
        "nseq",
        "sequence",
        "frame",
        "no",
        "nr",
        "num",
        "number",
    ]
}
_LABEL = {
    *[
        "label",
        "labels",
        "class",
        "annotation",
        "annotations",
        "beat",
        "beats",
        "event",
        "events",
        "marker",
        "markers",
    ],
    *[
        "trigger",
        "target",
        "quality",
        "status",
        "symbol",
        "type",
        "note",
        "notes",
        "comment",
        "flag",
        "stim",
        "rhythm",
        "digital",
    ],
}
_OTHER = {
    *[
        "eeg",
        "eog",
        "emg",
        "resp",
        "respiration",
        "respiratory",
        "breath",
        "breathing",
        "pleth",
        "plethysmogram",
        "ppg",
    ],
    *[
        "spo2",
        "sao2",
        "abp",
        "art",
        "pap",
        "cvp",
        "icp",
        "bp",
        "nibp",
        "pressure",
        "nasal",
        "flow",
        "airflow",
        "co2",
        "etco2",
        "snore",
    ],
    *[
        "hr",
        "bpm",
        "hrv",
        "rr",
        "pulse",
        "heartrate",
        "rate",
        "acc",
        "accel",
        "accelerometer",
        "accelerometry",
        "gyro",
        "gyroscope",
    ],
    *[
        "magnetometer",
        "mag",
        "temp",
        "temperature",
        "gsr",
        "eda",
        "scr",
        "battery",
        "position",
        "pos",
        "light",
        "sound",
        "uc",
    ],
    *[
        "scg",
        "bcg",
        "pcg",
        "icg",
        "red",
        "ir",
        "green",
        "humidity",
        "steps",
        "speed",
        "force",
        "toco",
        "other",
        "body",
    ],
}
# What is computed from an ECG, and named after it.
_DERIVED = {
    *["derived", "edr", "rate", "hr", "bpm", "hrv", "ibi", "rr", "rri", "interval", "intervals"],
    *["peak", "peaks", "rpeak", "rpeaks", "r-peaks", "onset", "onsets", "offset", "offsets"],
    *["phase", "completion", "envelope", "template", "prediction", "probability", "threshold"],
}
_PROCESSED = {
    *["clean", "cleaned", "filtered", "filt", "smooth", "smoothed", "detrended", "denoised"],
    *["normalized", "normalised", "processed"],
}
_CHEST = {"chest", "thorax", "thor", "tho", "abdo", "abdomen", "abd"}
_PARTS_OF_THE_BRAIN = re.compile(r"^(fp?z?\d*|af\d|f[tc]?\d|c[pz]?\d|p[oz]?\d|o\d|t\d|a\d)$")
_BELT = re.compile(r"(thor|chest|tho|abdo|abd)\w*", re.IGNORECASE)

_MV = {
    "mv": 1.0,
    "millivolt": 1.0,
    "millivolts": 1.0,
    "uv": 1e-3,
    "μv": 1e-3,
    "microv": 1e-3,
    "microvolt": 1e-3,
    "microvolts": 1e-3,
    "v": 1e3,
    "volt": 1e3,
    "volts": 1e3,
    "nv": 1e-6,
    "nanovolt": 1e-6,
    "nanovolts": 1e-6,
}
_NOMINAL = {
    "nu": 1.0,  # normalised units
    "norm": 1.0,
    "normalized": 1.0,
    "normalised": 1.0,
    "au": 1.0,
    "a.u.": 1.0,
    "adu": MV_PER_COUNT,
    "adc": MV_PER_COUNT,
    "lsb": MV_PER_COUNT,
    "count": MV_PER_COUNT,
    "bit": MV_PER_COUNT,
    "bits": MV_PER_COUNT,
    "digit": MV_PER_COUNT,
    "digits": MV_PER_COUNT,
    "counts": MV_PER_COUNT,
    "raw": MV_PER_COUNT,
}
_NO_SUFFIX = {"raw", "norm", "normalized", "normalised", "bit", "bits", "digit", "digits"}
_S = {
    "s": 1.0,
    "sec": 1.0,
    "secs": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "ms": 1e-3,
    "msec": 1e-3,
    "millisecond": 1e-3,
    "milliseconds": 1e-3,
    "us": 1e-6,
    "μs": 1e-6,
    "microseconds": 1e-6,
    "ns": 1e-9,
    "nanoseconds": 1e-9,
    "min": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hours": 3600.0,
}


def _unit(text: str) -> str:
    # NFKC makes the micro sign a Greek mu; a broken encoding leaves A-circumflex or U+FFFD there.
    plain = unicodedata.normalize("NFKC", text).strip().strip("[](){}'\"").strip().lower()
    return (
        plain.replace("âμ", "μ")
        .replace("î¼", "μ")
        .replace("\ufffd\ufffd", "μ")
        .replace("\ufffd", "μ")
    )


def mv_per_unit(text: str) -> float | None:
    """Return the millivolts in a unit of voltage, in any encoding of µ; None for another unit."""
    return _MV.get(_unit(text))


def nominal_mv_per_unit(text: str) -> float | None:
    """Return what stands for a millivolt where the unit has no known size; None for a known one."""
    return _NOMINAL.get(_unit(text))


def seconds_per_unit(text: str) -> float | None:
    """Return the seconds in a unit of time; None for another unit."""
    return _S.get(_unit(text))


def split_unit(heading: str) -> tuple[str, str | None]:
    """Split `ECG (mV)`, `ecg [uV]`, `ECG/mV` or `ecg_mV` into name and unit, which may be None."""
    text = heading.strip().strip("'\"").strip()
    found = re.fullmatch(r"(.*?)\s*[\[({]\s*([^\])}]*)\s*[\])}]", text) or re.fullmatch(
        r"(.*?)\s*[/,]\s*([^\s/,]+)", text
    )
    if found is None:
        found = re.fullmatch(r"(.*?)[_ ]([^\W_]+)", text)
    if found is None:
        return text, None
    name, unit = found.group(1).strip(), found.group(2)
    known = (mv_per_unit(unit), nominal_mv_per_unit(unit), seconds_per_unit(unit))
    # `lead_v` and `ecg_s` name a lead, `ECG_Raw` a signal that was not filtered: without brackets
    # only units of several letters are read, and only those that mean nothing else.
    bracketed = text[-1:] in "])}" or "/" in text
    if (
        not name
        or all(size is None for size in known)
        or not (bracketed or (len(unit) > 1 and unit.lower() not in _NO_SUFFIX))
    ):
        return (name, None) if bracketed and text[-1:] in "])}" and name else (text, None)
    return name, unit


def multiple_of_a_unit(heading: str) -> str | None:
    """Return what stands in brackets where it has a voltage and more: `0.1 mV`, `mV x 1000`."""
    found = re.search(r"[\[({]([^\])}]*)[\])}]\s*$", heading)
    if found is None or mv_per_unit(found[1]) is not None:
        return None
    words = re.findall(r"[^\W\d_]+", found[1])
    return found[1] if any(len(w) > 1 and mv_per_unit(w) is not None for w in words) else None


def role_of(name: str) -> Role:
    """Say what a signal is, by its name alone."""
    words = _words(name)
    split = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)  # ECGSample
    words += [word for word in _words(split) if word not in words and len(word) > 2]
    words += [part for word in words if "-" in word for part in word.split("-") if part]
    bare = [re.sub(r"\d+$", "", word) for word in words]
    return next((role for role, holds in _RULES if holds(name, words, bare)), Role.UNKNOWN)


def _words(text: str) -> list[str]:
    parts = re.split(r"[\s_,;:()\[\]{}/#]+", text.lower())
    return [part.strip(".") for part in parts if part.strip(".")]


def _any(words: Sequence[str], known: set[str]) -> bool:
    return any(word in known for word in words)


# The first rule that holds decides; each is given the name, its words, and those without number.
_RULES: tuple[tuple[Role, Callable[[str, list[str], list[str]], bool]], ...] = (
    (
        Role.ECG,
        lambda name, words, _: (
            name.strip().lower() in _ECG or "".join(words) in {"avr", "avl", "avf"}
        ),
    ),
    (Role.CLOCK, lambda _, words, bare: _any((*words, *bare), _CLOCK)),
    (
        Role.CLOCK,
        lambda _, words, __: (
            words in (["t"], ["ts"], ["ts", "ms"], ["ms"], ["s"], ["us"], ["ns"], ["min"])
        ),
    ),
    (Role.LABEL, lambda _, words, bare: _any((*words, *bare), _LABEL)),
    (Role.OTHER, lambda _, words, __: _any(words, _DERIVED)),
    (Role.ECG, lambda _, words, bare: _any((*words, *bare), {"ecg", "ekg", "exg", "ecgbit"})),
    (Role.OTHER, lambda _, words, bare: _any((*words, *bare), _OTHER)),
    (
        Role.ECG,
        lambda _, words, __: (
            any(word in _ECG and len(word) > 1 for word in words) or words[-1:] in (["i"], ["v"])
        ),
    ),
    (
        Role.COUNTER,
        lambda _, words, __: (
            not words or _any(words, _COUNTER) or words in (["sample"], ["samples"])
        ),
    ),
    (
        Role.OTHER,
        lambda name, words, _: (
            "-" in name and all(_PARTS_OF_THE_BRAIN.fullmatch(part) for part in words[1:])
        ),
    ),
    (
        Role.CHEST,
        lambda _, __, bare: any(_BELT.fullmatch(word) or word in _CHEST for word in bare),
    ),
)


def ecg_leads(names: Sequence[str]) -> list[int]:
    """Return which of the names of voltages are taken as ECG leads, in their order.

    Signals that are named as an ECG; if there is none, those whose name says nothing; if there is
    none either, numbered chest leads (`Thorax_1`), which a breathing belt is not. A filtered copy
    of a signal (`ECG_Clean`) is left out where the signal itself is there.
    """
    roles = [role_of(name) for name in names]
    for role in (Role.ECG, Role.UNKNOWN):
        found = [i for i, known in enumerate(roles) if known is role]
        if found:
            raw = [i for i in found if not _any(_words(names[i]), _PROCESSED)]
            return raw or found
    return [
        i
        for i, name in enumerate(names)
        if roles[i] is Role.CHEST
        and re.search(r"(thor|tho|chest)", name, re.IGNORECASE)
        and re.search(r"\d\s*$", name)
    ]

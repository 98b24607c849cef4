"""What a reader of a review is shown of a case, and what the reader answers; JSON in files.

`tocsin review export` writes `cases/cases.json` (`CaseIndex`) and one `cases/case-001.json` a case
(`ShownCase`). A reader's answers are `answers/NAME.json` (`Readings`), written by `tocsin review
take` and by the console. Times are seconds from the beginning of the case.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

ANY = "any"
"""What is asked about a silent stretch: whether any condition is there."""
INDEX = "cases.json"
MAX_BEATS = 1000
_TOLERANCE_S = 0.001  # a page rounds to it
_READER = re.compile(r"[A-Za-z0-9_-]{1,32}")

CaseName = Annotated[str, Meta(pattern=r"^case-[0-9]{3,9}$(?!\n)")]
Seconds = Annotated[float, Meta(ge=0)]
Code = Annotated[str, Meta(max_length=64)]


class Verdict(StrEnum):
    """What a reader says about a case."""

    TRUE = "true"
    FALSE = "false"
    OTHER = "other"


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer of one reader to one case.

    Parameters
    ----------
    verdict : Verdict
        `other`: another condition than the one asked about is there, `condition`.
    condition : str
        Alarm code of the condition that is there; empty where none is.
    onset_s, end_s : float or None
    beats : tuple of (float, str) or None
        Seconds and labels; None: those of the agent are right.
    """

    verdict: Verdict
    condition: Code = ""
    onset_s: float | None = None
    end_s: float | None = None
    beats: (
        Annotated[
            tuple[tuple[Seconds, Annotated[str, Meta(max_length=8)]], ...],
            Meta(max_length=MAX_BEATS),
        ]
        | None
    ) = None


class Readings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answers of one reader, by case."""

    schema: Literal["tocsin/review-answers/v1"]
    answers: dict[str, Reading]


class IndexedCase(msgspec.Struct, frozen=True):
    """A case in the index: its name, the alarm code that is asked about or `any`, its length."""

    case: CaseName
    asked: str
    seconds: float


class CaseIndex(msgspec.Struct, frozen=True):
    """`cases/cases.json`: the cases, and what an answer may name."""

    schema: Literal["tocsin/review-index/v1"]
    conditions: tuple[str, ...]
    labels: tuple[str, ...]
    cases: tuple[IndexedCase, ...]


class ShownCase(msgspec.Struct, frozen=True):
    """A case as a page draws it.

    Parameters
    ----------
    case, asked, seconds
        As in the index.
    rate : float
        Samples per second of `data`.
    leads : tuple of str
    data : str
        Base64 of little-endian int16, row by row, 200 a mV; -32768 is a missing sample.
    beats : tuple of (float, str)
        The agent's, seconds and labels.
    """

    case: CaseName
    asked: str
    seconds: float
    rate: float
    leads: tuple[str, ...]
    data: str
    beats: tuple[tuple[float, str], ...]


_READINGS, _INDEX = msgspec.json.Decoder(Readings), msgspec.json.Decoder(CaseIndex)
_SHOWN = msgspec.json.Decoder(ShownCase)


def encode_readings(answers: dict[str, Reading]) -> bytes:
    """Encode the answers of a reader as a file that people can read, too."""
    content = Readings("tocsin/review-answers/v1", answers)
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def decode_readings(content: bytes) -> dict[str, Reading]:
    """Decode the answers of a reader, by case.

    Raises
    ------
    ValueError
        If it is not JSON or does not satisfy the schema.
    """
    return _READINGS.decode(content).answers


def decode_index(content: bytes) -> CaseIndex:
    """Decode `cases/cases.json`; errors as `decode_readings`."""
    return _INDEX.decode(content)


def decode_shown(content: bytes) -> ShownCase:
    """Decode a case; errors as `decode_readings`."""
    return _SHOWN.decode(content)


def checked(
    reading: Reading, case: IndexedCase, *, conditions: tuple[str, ...], labels: tuple[str, ...]
) -> Reading:
    """Return a reading that can be; of a true alert the condition need not be named.

    Parameters
    ----------
    reading : Reading
    case : IndexedCase
    conditions, labels : tuple of str
        Alarm codes, and labels of beats.

    Raises
    ------
    ValueError
        With what is wrong.
    """
    condition, last_s = reading.condition, case.seconds + _TOLERANCE_S
    if reading.verdict is Verdict.TRUE and case.asked != ANY:
        condition = condition or case.asked
    if (reading.verdict is Verdict.FALSE) != (condition == ""):
        raise ValueError("`true` and `other` name a condition, `false` names none")
    if condition and condition not in conditions:
        raise ValueError(f"{condition!r} is no alarm: one of docs/alerts.md expected")
    beats = reading.beats or ()
    for at in (reading.onset_s, reading.end_s, *(at for at, _ in beats)):
        if at is not None and not 0 <= at <= last_s:
            raise ValueError(f"{at:g} s is not within the case")
    if wrong := sorted({label for _, label in beats} - set(labels)):
        raise ValueError(f"{', '.join(wrong)} is no label of a beat")
    onset_s, end_s = reading.onset_s, reading.end_s
    if onset_s is not None and end_s is not None and end_s < onset_s:
        raise ValueError("it ends before its onset")
    return msgspec.structs.replace(reading, condition=condition)


def is_reader(name: str) -> bool:
    """Return whether a reader may have this name: it is the name of a file."""
    return _READER.fullmatch(name) is not None


def reader_of(user: str) -> str:
    """Return the reader that a user of the console is: the name itself where a reader may have it.

    Another one becomes letters, digits, `_` and `-`, with a hash, so that no two users are one.
    """
    if is_reader(user):
        return user
    digest = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', user)[:19]}-{digest}"

"""Read WFDB annotation files, and say what each annotation means to ANSI/AAMI EC57.

The format is the one of annot(5) and header(5) in the WFDB Applications Guide. It is read here and
not by a library, so that what happens to a broken file is a rule of this module: a file that
cannot be trusted is refused, and what can be put right is, with a sentence in `Annotations.notes`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault

BeatClass = Literal["N", "S", "V", "F", "Q"]
IntArray = NDArray[np.int64]

# annot(5), table of annotation codes: number to mnemonic.
_SYMBOLS = {
    code: symbol
    for first, symbols in ((1, "NLRaVFJASEj/Q~"), (16, "|"), (18, 'sT*D"=pB^t+u?![]en@xf()r'))
    for code, symbol in enumerate(symbols, start=first)
}
_CODES = {symbol: code for code, symbol in _SYMBOLS.items()}
_NO_ANNOTATION = 0
_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63
_TIME_RESOLUTION = re.compile(r"## time resolution:\s*([0-9.eE+-]+)")
_DEFAULT_RATE_HZ = 250.0  # header(5): where the header states none
_SHUTDOWN_BITS = 0x30

# EC57:2012 4.3.1 and its table of mnemonics. Escape beats (`e`, `n`, `j`) count as
# supraventricular ectopic beats and a fusion of paced and normal (`f`) as unclassifiable, as the
# reference programs count them.
AAMI_CLASS: dict[str, BeatClass] = {
    **dict.fromkeys("NLRB", "N"),
    **dict.fromkeys("AaJSejn", "S"),
    **dict.fromkeys("VEr", "V"),
    "F": "F",
    **dict.fromkeys("/fQ?", "Q"),
}
VF_ONSET, VF_END = "[", "]"
RHYTHM, NOISE = "+", "~"


@dataclass(frozen=True)
class Annotations:
    """One annotation file, in time order.

    Parameters
    ----------
    record : str
        Name of the record.
    rate_hz : float
        Samples of `sample` in a second.
    n_samples : int or None
        Length of the record, None where the header does not state it.
    sample : ndarray of int64
        Sample index of each annotation, never decreasing.
    symbol : tuple of str
        Mnemonic of each annotation; an unknown code N is `#N`.
    subtype, channel, number : ndarray of int64
        The fields `subtyp`, `chan` and `num` of each.
    aux : tuple of str
        The text of each, without the terminating zero.
    notes : tuple of str
        What was put right in reading, a sentence each; empty for a sound file.
    """

    record: str
    rate_hz: float
    n_samples: int | None
    sample: IntArray
    symbol: tuple[str, ...]
    subtype: IntArray
    channel: IntArray
    number: IntArray
    aux: tuple[str, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.symbol)

    def index_of(self, seconds: float) -> int:
        """Return the sample index nearest to a time, the later of two."""
        return int(seconds * self.rate_hz + 0.5)

    def has_beats(self) -> bool:
        """Tell whether any annotation is a beat."""
        return any(symbol in AAMI_CLASS for symbol in self.symbol)


class Header(NamedTuple):
    """What a comparison needs of a record's header."""

    rate_hz: float
    n_samples: int | None


def is_shutdown(subtype: int) -> bool:
    """Tell whether a NOISE annotation of this subtype begins a shutdown, as bxb(1) defines it."""
    return subtype & _SHUTDOWN_BITS == _SHUTDOWN_BITS


def read_header(path: Path) -> Header:
    """Read rate and length from a record's header, whatever its line ends.

    Raises
    ------
    SourceError
        `NOT_FOUND` or `MALFORMED`.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise SourceError(SourceFault.NOT_FOUND, f"no header {path}") from error
    except OSError as error:
        raise SourceError(SourceFault.MALFORMED, f"{path} cannot be read: {error}") from error
    lines = (line.strip() for line in text.lstrip("\ufeff").splitlines())
    fields = next((line.split() for line in lines if line and not line.startswith("#")), [])
    try:
        rate_hz = float(re.split(r"[/(]", fields[2])[0]) if len(fields) > 2 else _DEFAULT_RATE_HZ
        n_samples = int(fields[3]) if len(fields) > 3 else 0
        int(fields[1])
    except (IndexError, ValueError) as error:
        raise SourceError(
            SourceFault.MALFORMED,
            f"{path} is no WFDB header: its first line should be name, signals, rate, samples",
        ) from error
    if not (0 < rate_hz < np.inf) or n_samples < 0:
        raise SourceError(
            SourceFault.MALFORMED, f"{path} states {rate_hz:g} Hz and {n_samples} samples"
        )
    return Header(rate_hz, n_samples or None)


def read_annotations(path: Path, header: Header) -> Annotations:
    """Read one annotation file in MIT format, times in samples of the record.

    Parameters
    ----------
    path : Path
        `RECORD.ANNOTATOR`.
    header : Header
        Of the record.

    Raises
    ------
    SourceError
        `NOT_FOUND`; `TRUNCATED` where the file has no byte at all or ends inside an annotation.

    Notes
    -----
    - A file that holds its end mark and nothing else is sound: an annotator that found nothing.
    - Annotations out of time order are sorted, those at one sample in the order of the file.
    - Annotations before the first or after the last sample are left out.
    - Codes that annot(5) does not define are kept and mean no beat.
    - Where the file states a time resolution other than the header's rate, its times are rescaled
      to the header's, to the nearest sample.
    - A missing end mark is tolerated.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise SourceError(SourceFault.NOT_FOUND, f"no annotation file {path}") from error
    except OSError as error:
        raise SourceError(SourceFault.MALFORMED, f"{path} cannot be read: {error}") from error
    if not data:
        raise SourceError(
            SourceFault.TRUNCATED,
            f"{path} is empty: even an annotator that found nothing writes an end mark",
        )
    rows, ended = _decode(data, path)
    notes = [] if ended else ["has no end mark"]
    file_rate_hz, rows = _time_resolution(rows, path)
    if file_rate_hz is not None and file_rate_hz != header.rate_hz:
        scale = header.rate_hz / file_rate_hz
        rows = [row._replace(sample=round(row.sample * scale)) for row in rows]
        notes.append(f"is in {file_rate_hz:g} Hz: rescaled to {header.rate_hz:g} Hz")
    # Code 0 only carries time: the WFDB library sets the clock back with it behind its preamble.
    rows, repaired = _put_right([row for row in rows if row.code != _NO_ANNOTATION], header)
    return Annotations(
        record=path.stem,
        rate_hz=header.rate_hz,
        n_samples=header.n_samples,
        sample=np.array([row.sample for row in rows], np.int64),
        symbol=tuple(_SYMBOLS.get(row.code, f"#{row.code}") for row in rows),
        subtype=np.array([row.subtype for row in rows], np.int64),
        channel=np.array([row.channel for row in rows], np.int64),
        number=np.array([row.number for row in rows], np.int64),
        aux=tuple(row.aux for row in rows),
        notes=tuple(f"{path.name} {note}" for note in (*notes, *repaired)),
    )


def make_annotations(
    sample: IntArray | list[int],
    symbol: list[str] | str,
    *,
    rate_hz: float,
    record: str = "",
    n_samples: int | None = None,
    subtype: IntArray | list[int] | None = None,
    aux: list[str] | None = None,
) -> Annotations:
    """Make annotations from arrays, as a program that has just found them would; sorted by time."""
    at = np.asarray(sample, np.int64)
    order = np.argsort(at, kind="stable")
    zeros = np.zeros(len(at), np.int64)
    of_subtype = zeros if subtype is None else np.asarray(subtype, np.int64)
    of_aux = [""] * len(at) if aux is None else aux
    if not len(at) == len(symbol) == len(of_subtype) == len(of_aux):
        raise ValueError("sample, symbol, subtype and aux differ in length")
    return Annotations(
        record=record,
        rate_hz=rate_hz,
        n_samples=n_samples,
        sample=at[order],
        symbol=tuple(symbol[i] for i in order),
        subtype=of_subtype[order],
        channel=zeros,
        number=zeros,
        aux=tuple(of_aux[i] for i in order),
    )


def require_beats(reference: Annotations, path: Path) -> None:
    """Refuse a reference without a single beat: it is the wrong file, not a heart that stopped."""
    if not reference.has_beats():
        raise SourceError(SourceFault.MALFORMED, f"{path} holds no beat annotation to compare with")


def same_time_base(reference: Annotations, test: Annotations) -> Annotations:
    """Return the test annotations in the samples of the reference, as the guide asks."""
    if test.rate_hz == reference.rate_hz:
        return test
    scale = reference.rate_hz / test.rate_hz
    return replace(
        test,
        rate_hz=reference.rate_hz,
        n_samples=reference.n_samples,
        sample=np.rint(test.sample * scale).astype(np.int64),
    )


class _Row(NamedTuple):
    sample: int
    code: int
    subtype: int = 0
    channel: int = 0
    number: int = 0
    aux: str = ""


def _signed(byte: int) -> int:
    byte &= 0xFF
    return byte - 0x100 if byte & 0x80 else byte


def _decode(data: bytes, path: Path) -> tuple[list[_Row], bool]:
    """Return the annotations as the file has them, and whether it ended with its end mark."""
    rows: list[_Row] = []
    sample = channel = number = at = 0
    while at < len(data):
        word, at = int.from_bytes(_take(data, at, 2, path), "little"), at + 2
        if word == 0:
            return rows, True
        code, value = word >> 10, word & 0x3FF
        if code == _SKIP:  # a PDP-11 long: the high half first
            skip, at = _take(data, at, 4, path), at + 4
            sample += int.from_bytes(skip[:2], "little", signed=True) << 16
            sample += int.from_bytes(skip[2:], "little")
        elif code == _NUM:
            number = _signed(value)
            _amend(rows, path, number=number)
        elif code == _SUB:
            _amend(rows, path, subtype=_signed(value))
        elif code == _CHN:
            channel = value & 0xFF
            _amend(rows, path, channel=channel)
        elif code == _AUX:
            text, at = _take(data, at, value, path), at + value + (value & 1)
            _amend(rows, path, aux=text.split(b"\0", 1)[0].decode("utf-8", "replace"))
        else:
            sample += value
            rows.append(_Row(sample, code, channel=channel, number=number))
    return rows, False


def _take(data: bytes, at: int, size: int, path: Path) -> bytes:
    if at + size > len(data):
        raise SourceError(
            SourceFault.TRUNCATED, f"{path} ends inside the annotation at byte {at}: it was cut off"
        )
    return data[at : at + size]


def _amend(rows: list[_Row], path: Path, **fields: int | str) -> None:
    if not rows:
        raise SourceError(
            SourceFault.MALFORMED,
            f"{path} is no annotation file: it begins with a modifier of no annotation",
        )
    rows[-1] = rows[-1]._replace(**fields)  # type: ignore[arg-type]


def _time_resolution(rows: list[_Row], path: Path) -> tuple[float | None, list[_Row]]:
    """Take the note that states the file's own rate, which is no annotation, out of the rows."""
    for i, row in enumerate(rows):
        if row.sample != 0:
            break
        stated = _TIME_RESOLUTION.match(row.aux) if row.code == _CODES['"'] else None
        if stated:
            try:
                rate_hz = float(stated[1])
            except ValueError:
                rate_hz = 0.0
            if not 0 < rate_hz < np.inf:
                raise SourceError(SourceFault.MALFORMED, f"{path} states {row.aux!r}")
            return rate_hz, rows[:i] + rows[i + 1 :]
    return None, rows


def _put_right(rows: list[_Row], header: Header) -> tuple[list[_Row], list[str]]:
    notes = []
    late = sum(after.sample < before.sample for before, after in pairwise(rows))
    if late:
        notes.append(f"goes back in time {late} times: sorted")
        rows = sorted(rows, key=lambda row: row.sample)
    end = header.n_samples
    inside = [row for row in rows if row.sample >= 0 and (end is None or row.sample < end)]
    if len(inside) < len(rows):
        notes.append(f"has {len(rows) - len(inside)} annotations outside the signal: left out")
    unknown = Counter(row.code for row in inside if row.code not in _SYMBOLS)
    if unknown:
        codes = ", ".join(str(code) for code in sorted(unknown))
        notes.append(f"has {unknown.total()} annotations of unknown codes ({codes}): no beats")
    return inside, notes

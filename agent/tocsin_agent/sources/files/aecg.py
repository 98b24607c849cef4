"""An HL7 annotated ECG (aECG, XML) as a source."""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.files.guard import existing, guarded, reading
from tocsin_agent.sources.files.selection import FileSignal, SignalFile, distinct
from tocsin_agent.sources.files.signal_names import mv_per_unit, seconds_per_unit
from tocsin_dsp.signal import FloatArray

_LOG = logging.getLogger(__name__)
_WHAT = "an HL7 aECG"
_MAX_BYTES = 64 << 20  # of a file: its samples are text, and are held in memory
_MAX_DEPTH = 64
_READ_BYTES = 1 << 16
_CHUNK_ROWS = 100_000
_STANDARD = {"AVR": "aVR", "AVL": "aVL", "AVF": "aVF"}
_LEAD_CODE = re.compile(r"MDC_ECG_LEAD_(.+)", re.IGNORECASE)


class AecgSource(SignalFile):
    """The rhythm series of an annotated ECG.

    A file is at most 64 MB, which is 30 minutes of 12 leads; its samples are held as integers. A
    file that declares entities is refused, so that a small file cannot become a large one. Of
    several series the longest rhythm is used; a derived one (an average beat) never is.

    Parameters
    ----------
    path : Path
        The file.
    leads : sequence of str, optional
        Names of the leads, in the wanted order, as in the codes after `MDC_ECG_LEAD_`.
    block_s : float
        Seconds of signal in a block.

    Notes
    -----
    A sample is its digit times the scale, plus the origin. The start is taken as UTC where it
    states no offset.
    """

    def _start(self) -> Generator[tuple[int, FloatArray]]:
        with reading(existing(self.path), _WHAT):
            found = _Parser(self.path).parse()
        if not found:
            raise SourceError(
                SourceFault.MALFORMED, f"{self.path} has no series of an ECG with samples"
            )
        best = max(found, key=lambda series: series.rows * series.step_s)
        with reading(self.path, _WHAT):
            signals = best.signals()
        used = self._choose(signals)
        if len(found) > 1:
            _LOG.warning("%s: the longest of %d series is used", self.path, len(found))
        self.seconds = best.rows / self.spec.rate_hz
        self.start_utc = best.start_utc
        return guarded(self.path, _WHAT, _chunks(best, signals, used))


class _Lead(NamedTuple):
    """One sequence of samples."""

    name: str
    unit: str
    origin: float
    scale: float
    digits: NDArray[np.int32]


@dataclass(slots=True)
class _Series:
    """One series: its time step, and its leads."""

    derived: bool
    step_s: float = 0.0
    start_utc: datetime | None = None
    leads: list[_Lead] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return max((len(lead.digits) for lead in self.leads), default=0)

    def signals(self) -> list[FileSignal]:
        if not (math.isfinite(self.step_s) and self.step_s > 0):
            raise ValueError("it states no time between two samples")
        rate_hz = 1.0 / self.step_s
        rate_hz = float(round(rate_hz)) if abs(rate_hz - round(rate_hz)) < 1e-6 else rate_hz
        names = distinct([lead.name for lead in self.leads])
        return [
            FileSignal.of(name, lead.unit, rate_hz)
            for name, lead in zip(names, self.leads, strict=True)
        ]


class _Parser:
    """Reads the series of a file, element by element."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._series: list[_Series] = []
        self._names: list[str] = []  # open elements
        self._text: list[str] = []
        self._sequence: dict[str, str] = {}
        self._found: list[_Series] = []

    def parse(self) -> list[_Series]:
        """Return the series that are no derived ones and have samples."""
        if self._path.stat().st_size > _MAX_BYTES:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self._path} has more than {_MAX_BYTES >> 20} MB, which is more than is read of "
                "XML: convert it to an .edf",
            )
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.EntityDeclHandler = _refuse_entities
        parser.ExternalEntityRefHandler = _refuse_entities
        try:
            with self._path.open("rb") as stream:
                while part := stream.read(_READ_BYTES):
                    parser.Parse(part, False)
                parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self._path} is no complete XML file ({error}): get the file again",
            ) from error
        return [series for series in self._found if series.leads and not series.derived]

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        self._names.append(local)
        if len(self._names) > _MAX_DEPTH:
            raise ValueError(f"its elements are nested {_MAX_DEPTH} deep")
        self._text.clear()
        if local in {"series", "derivedSeries"}:
            self._series.append(_Series(derived="derivation" in self._names))
        elif local == "sequence":
            self._sequence = {}
        elif self._series:
            self._attribute(local, attributes)

    def _attribute(self, local: str, attributes: dict[str, str]) -> None:
        parent = self._names[-2] if len(self._names) > 1 else ""
        value = attributes.get("value", "")
        if parent == "sequence" and local == "code":
            self._sequence["code"] = attributes.get("code", "")
        elif parent == "value" and local in {"origin", "scale", "increment", "head"}:
            self._sequence[local] = value
            self._sequence[f"{local} unit"] = attributes.get("unit", "")
        elif local == "low" and parent == "effectiveTime" and self._names[-3] == "series":
            self._series[-1].start_utc = _moment(value)

    def _end(self, name: str) -> None:
        local = name.rpartition(" ")[2]
        if self._series and local == "digits":
            self._sequence["digits"] = "".join(self._text)
        elif self._series and local == "sequence":
            self._close_sequence(self._series[-1])
        elif local in {"series", "derivedSeries"} and self._series:
            self._found.append(self._series.pop())
        self._text.clear()
        self._names.pop()

    def _close_sequence(self, series: _Series) -> None:
        stated, code = self._sequence, self._sequence.get("code", "")
        if "increment" in stated:
            size = seconds_per_unit(stated.get("increment unit") or "s")
            if size is None:
                raise ValueError(f"its time step has the unit {stated['increment unit']!r}")
            series.step_s = float(stated["increment"]) * size
            series.start_utc = _moment(stated.get("head", "")) or series.start_utc
        elif "digits" in stated:
            named = _LEAD_CODE.fullmatch(code)
            unit = stated.get("scale unit") or stated.get("origin unit") or ""
            origin_size = mv_per_unit(stated.get("origin unit") or unit)
            scale, origin = float(stated.get("scale", "1")), float(stated.get("origin", "0"))
            if not (math.isfinite(scale) and scale and math.isfinite(origin)):
                raise ValueError(f"{code} has the scale {scale:g} and the origin {origin:g}")
            if origin_size is not None and mv_per_unit(unit) is not None:
                origin *= origin_size / (mv_per_unit(unit) or 1.0)
            name = (named[1] if named else code) or f"ECG{len(series.leads) + 1}"
            digits = _digits(stated.pop("digits"), name)
            series.leads.append(
                _Lead(_STANDARD.get(name.upper(), name), unit, origin, scale, digits)
            )
        self._sequence = {}


def _digits(text: str, name: str) -> NDArray[np.int32]:
    """Parse the samples of a lead, without a Python object for each."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # of text that is no number
        try:
            digits = np.fromstring(text, dtype=np.float64, sep=" ")
        except (DeprecationWarning, ValueError):
            raise ValueError(f"lead {name} has a sample that is no number") from None
    if not np.isfinite(digits).all() or (np.abs(digits) > 2**31 - 1).any():
        raise ValueError(f"lead {name} has samples that are no numbers of 32 bits")
    return digits.astype(np.int32)


def _refuse_entities(*_: object) -> int:
    raise ValueError("it declares entities, which are refused")


def _moment(text: str) -> datetime | None:
    """Return UTC of an HL7 time such as `20240501100000.000+0200`; None if it is no full time."""
    found = re.fullmatch(r"(\d{14})(\.\d+)?(?:([-+])(\d{2})(\d{2}))?", text.strip())
    if found is None:
        return None
    try:
        moment = datetime.strptime(f"{found[1]}+0000", "%Y%m%d%H%M%S%z")
        moment += timedelta(seconds=float(found[2] or 0))
        if found[3]:
            offset = timedelta(hours=int(found[4]), minutes=int(found[5]))
            moment -= offset if found[3] == "+" else -offset
    except (ValueError, OverflowError):
        return None
    return moment


def _chunks(
    series: _Series, signals: list[FileSignal], channels: list[int]
) -> Generator[tuple[int, FloatArray]]:
    """Yield the samples of the chosen leads; a lead that ends before the others is NaN there."""
    rows = max(len(series.leads[i].digits) for i in channels)
    for first in range(0, rows, _CHUNK_ROWS):
        last = min(first + _CHUNK_ROWS, rows)
        samples = np.full((last - first, len(channels)), np.nan)
        for column, i in enumerate(channels):
            lead = series.leads[i]
            part = lead.digits[first:last]
            size = mv_per_unit(lead.unit) or signals[i].mv_per_unit or math.nan
            samples[: len(part), column] = (part * lead.scale + lead.origin) * size
        yield first, samples

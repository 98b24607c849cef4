"""A trace as an EDF+ file with annotations; needs the extra `edf`.

Source: Kemp and Olivan, European data format 'plus' (EDF+), Clin. Neurophysiol. 114:1755, 2003.
EDF has no missing sample: it is written as the lowest count, and an annotation says where and in
which leads.
"""

from __future__ import annotations

import datetime as dt
import io
import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.extras import import_extra
from tocsin_agent.team.export.trace import MISSING, Trace, file_name, in_ms, plain

_UNKNOWN_START = dt.datetime(1985, 1, 1, tzinfo=dt.UTC)  # the first date that EDF can hold
_MOST_RECORD_S = 60
_MOST_LABEL = 16
_LONG_TIME = re.compile(rb"(?:(?<=\0)|^)\+\d+\.\d{7,}(?=[\x14\x15])")


def edf_file(trace: Trace) -> dict[str, bytes]:
    """Return the file by name; its last data record is filled up with missing samples.

    Raises
    ------
    ValueError
        If no data record of up to a minute holds a whole number of samples.
    MissingExtraError
        Without the extra.
    """
    edfio = import_extra("edfio", "edf", "EDF")
    record_s = _record_s(trace.rate_hz)
    size = round(record_s * trace.rate_hz)
    counts, gain = _filled(trace.counts(), size), trace.gain_per_mv()
    signals = [
        edfio.EdfSignal.from_digital(
            np.ascontiguousarray(counts[:, column]),
            size / record_s,
            label=f"ECG {plain(lead)}"[:_MOST_LABEL],
            physical_dimension="mV",
            physical_range=(MISSING / gain, -(MISSING + 1) / gain),
            digital_range=(MISSING, -(MISSING + 1)),
        )
        for column, lead in enumerate(trace.leads)
    ]
    start = in_ms(trace.start or _UNKNOWN_START)
    edf = edfio.Edf(
        signals,
        patient=edfio.Patient(code=_word(trace.patient)),
        recording=edfio.Recording(
            startdate=start.date(),
            equipment_code=_word(trace.device),
            additional=[_word(note) for note in _notes(trace)],
        ),
        starttime=start.time(),
        data_record_duration=record_s,
        annotations=_annotations(edfio, trace, len(counts)),
    )
    buffer = io.BytesIO()
    edf.write(buffer)
    return {f"{file_name(trace.name)}.edf": _rounded(buffer.getvalue())}


def _rounded(file: bytes) -> bytes:
    """Return a file whose times of data records and annotations have 6 decimals at most.

    edfio adds them as floats, `+1.5939999999999999`; strict readers take that for a gap.
    """
    signals = int(file[252:256])
    content = bytearray(file)
    samples = file[256 + 216 * signals : 256 + 224 * signals]
    sizes = [2 * int(samples[i : i + 8]) for i in range(0, 8 * signals, 8)]
    labels = file[256 : 256 + 16 * signals]
    of_annotations = labels.index(b"EDF Annotations ") // 16
    first = 256 * (signals + 1) + sum(sizes[:of_annotations])
    for begin in range(first, len(file), sum(sizes)):
        end = begin + sizes[of_annotations]
        content[begin:end] = _LONG_TIME.sub(
            lambda found: f"+{float(found[0]):.6f}".encode().rstrip(b"0").rstrip(b"."),
            file[begin:end],
        ).ljust(end - begin, b"\0")
    return bytes(content)


def _record_s(rate_hz: float) -> int:
    exact = Fraction(rate_hz).limit_denominator(_MOST_RECORD_S)
    if not math.isclose(float(exact), rate_hz, rel_tol=1e-12):
        raise ValueError(
            f"EDF cannot hold {rate_hz:.9g} samples a second: use --format wfdb, dicom or csv"
        )
    return exact.denominator


def _filled(counts: NDArray[np.int16], size: int) -> NDArray[np.int16]:
    """Return whole data records."""
    lacking = -len(counts) % size
    return np.pad(counts, ((0, lacking), (0, 0)), constant_values=MISSING)


def _annotations(edfio: Any, trace: Trace, rows: int) -> list[Any]:  # noqa: ANN401
    stretches = [
        (first, count, "missing samples: " + " ".join(leads))
        for first, count, leads in trace.missing()
    ]
    if rows > trace.rows:
        stretches.append((trace.rows, rows - trace.rows, "end of the ECG, the rest is filled up"))
    return [
        *(edfio.EdfAnnotation(mark.row / trace.rate_hz, None, mark.text) for mark in trace.marks),
        *(
            edfio.EdfAnnotation(first / trace.rate_hz, count / trace.rate_hz, text)
            for first, count, text in stretches
        ),
    ]


def _notes(trace: Trace) -> list[str]:
    return ["synthetic"] if trace.synthetic else []


def _word(text: str) -> str:
    """Return a text as one word of the header."""
    return plain(text).strip().replace(" ", "_")[:40] or "X"

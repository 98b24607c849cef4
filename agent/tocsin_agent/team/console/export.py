"""An alert on paper and as files: its strip at true scale, its documents, its ECG as WFDB."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence

import msgspec
import numpy as np

from tocsin_agent.drawing.svg import document
from tocsin_agent.messages.alert import Alert
from tocsin_agent.team.console.wording import begins_at
from tocsin_agent.team.language import Language
from tocsin_agent.team.strip import strip_sheet

_CODES = {"N": 1, "S": 9, "V": 5, "F": 6, "Q": 13}
"""Annotation codes of WFDB: NORMAL, SVPB, PVC, FUSION, UNKNOWN."""
_SKIP, _NOTE = 59, 22
_MISSING = -32768


def strip_svg(alert: Alert, language: Language) -> bytes:
    """Return the strip as SVG in millimetres.

    Raises
    ------
    ValueError
        If the alert has no strip that can be read.
    """
    return document(strip_sheet(alert, language)).encode()


def strip_pdf(alert: Alert, language: Language) -> bytes:
    """Return the strip as a PDF of A4 in true size; needs the extra `picture`.

    Raises
    ------
    ValueError
        As `strip_svg`.
    MissingExtraError
        Without the extra.
    """
    from tocsin_agent.drawing.picture import picture  # noqa: PLC0415  # matplotlib takes a second

    return picture(strip_sheet(alert, language, whole_page=True), "pdf")


def episode_json(documents: Sequence[Alert], events: Sequence[object]) -> bytes:
    """Return the documents of an alert, and what happened to it, as JSON."""
    return msgspec.json.encode(
        {"schema": "tocsin/episode/v1", "documents": documents, "events": events}
    )


def episode_wfdb(documents: Sequence[Alert]) -> bytes:
    """Return a zip with a WFDB record of each strip: header, signal of format 16, annotations.

    Raises
    ------
    ValueError
        If no document has a strip that can be read.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        found = False
        for alert in documents:
            if alert.strip is None:
                continue
            name = f"{alert.alert_id[:12]}_{alert.sequence}"
            header, signal, marks = _record(name, alert)
            archive.writestr(f"{name}.hea", header)
            archive.writestr(f"{name}.dat", signal)
            archive.writestr(f"{name}.atr", marks)
            found = True
    if not found:
        raise ValueError("no document of this alert has a strip")
    return buffer.getvalue()


def _record(name: str, alert: Alert) -> tuple[str, bytes, bytes]:
    strip = alert.strip
    assert strip is not None  # noqa: S101 - the caller has looked
    samples = strip.decode()
    if not len(samples):
        raise ValueError("the strip of this alert is empty")
    counts = np.nan_to_num(np.rint(samples * strip.gain_per_mv), nan=_MISSING).astype("<i2")
    begin = begins_at(alert, strip, len(samples))
    clock = f"{begin:%H:%M:%S}.{begin.microsecond // 1000:03d} {begin:%d/%m/%Y}"
    lines = [f"{name} {len(strip.leads)} {strip.rate_hz:g} {len(samples)} {clock}"]
    for column, lead in enumerate(strip.leads):
        signal = counts[:, column]
        checksum = int(signal.astype(np.int64).sum()) & 0xFFFF
        checksum -= 0x10000 if checksum & 0x8000 else 0
        label = re.sub(r"[^\x21-\x7e]", "_", lead) or f"lead{column}"
        lines.append(
            f"{name}.dat 16 {strip.gain_per_mv:g}/mV 16 0 {signal[0]} {checksum} 0 {label}"
        )
    lines.append(f"# {alert.code} {alert.priority} alert {alert.alert_id}.{alert.sequence}")
    if alert.synthetic:
        lines.append("# synthetic: not from a patient")
    marks = [(beat.row, _CODES.get(beat.label, _CODES["Q"]), b"") for beat in strip.beats]
    if strip.onset_row is not None:
        marks.append((strip.onset_row, _NOTE, alert.code.encode()))
    return "\n".join(lines) + "\n", counts.tobytes(), _annotations(marks, len(samples))


def _annotations(marks: Sequence[tuple[int, int, bytes]], rows: int) -> bytes:
    """Return annotations in the MIT format: 6 bits of code, 10 of the time since the last one."""
    words, before = bytearray(), 0
    for row, code, text in sorted(marks):
        if row >= rows:
            continue
        step, before = row - before, row
        if step > 0x3FF:
            words += (_SKIP << 10).to_bytes(2, "little")
            words += (step >> 16).to_bytes(2, "little") + (step & 0xFFFF).to_bytes(2, "little")
            step = 0
        words += ((code << 10) | step).to_bytes(2, "little")
        if text:
            words += ((63 << 10) | len(text)).to_bytes(2, "little") + text + b"\0" * (len(text) % 2)
    return bytes(words) + b"\0\0"

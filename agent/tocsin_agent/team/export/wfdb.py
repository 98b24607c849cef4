"""A trace as a WFDB record: header, signal of format 16, annotations in the MIT format.

Source: the WFDB Applications Guide, `header(5)`, `signal(5)` and `annot(5)`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tocsin_agent.team.export.trace import BEATS, Mark, Trace, file_name, in_ms, plain

_CODES = {"N": 1, "S": 9, "V": 5, "F": 6, "Q": 13}
"""Annotation codes: NORMAL, SVPB, PVC, FUSION, UNKNOWN."""
_SKIP, _AUX, _NOTE = 59, 63, 22
_MOST_AUX = 255


def record(trace: Trace) -> dict[str, bytes]:
    """Return the files of a record by name: header, signal, and annotations if it has marks."""
    name, counts, gain = file_name(trace.name), trace.counts(), trace.gain_per_mv()
    clock = ""
    if trace.start is not None:
        begin = in_ms(trace.start)
        clock = f" {begin:%H:%M:%S}.{begin.microsecond // 1000:03d} {begin:%d/%m/%Y}"
    lines = [f"{name} {len(trace.leads)} {trace.rate_hz:.12g} {trace.rows}{clock}"]
    for column, lead in enumerate(trace.leads):
        signal = counts[:, column]
        checksum = int(signal.sum(dtype=np.int64)) & 0xFFFF
        checksum -= 0x10000 if checksum & 0x8000 else 0
        label = re.sub(r"[^\x21-\x7e]", "_", lead) or f"lead{column}"
        lines.append(f"{name}.dat 16 {gain:g}/mV 16 0 {signal[0]} {checksum} 0 {label}")
    lines += [f"# {plain(note)}" for note in trace.notes]
    if trace.synthetic:
        lines.append("# synthetic: not from a patient")
    files = {f"{name}.hea": ("\n".join(lines) + "\n").encode(), f"{name}.dat": counts.tobytes()}
    if trace.marks:
        files[f"{name}.atr"] = _annotations(trace.marks)
    return files


def _annotations(marks: Sequence[Mark]) -> bytes:
    """Return annotations in the MIT format: 6 bits of code, 10 of the time since the last one."""
    words, before = bytearray(), 0
    for mark in sorted(marks, key=lambda mark: mark.row):
        step, before = mark.row - before, mark.row
        if step > 0x3FF:
            words += (_SKIP << 10).to_bytes(2, "little")
            words += (step >> 16).to_bytes(2, "little") + (step & 0xFFFF).to_bytes(2, "little")
            step = 0
        beat = mark.codes is None and mark.text in BEATS
        words += ((_CODES[mark.text] if beat else _NOTE) << 10 | step).to_bytes(2, "little")
        if not beat:
            text = plain(mark.text).encode()[:_MOST_AUX]
            words += (_AUX << 10 | len(text)).to_bytes(2, "little") + text + b"\0" * (len(text) % 2)
    return bytes(words) + b"\0\0"

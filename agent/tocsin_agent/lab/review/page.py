"""One page for a reader without a program for WFDB: `cases/review.html`; the cases for the console.

The page holds the ECG of all cases and needs no server and no network. It shows three leads at 125
samples a second, which is enough to read a rhythm; the files beside it have the whole signal.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np

from tocsin_agent.lab.annotate import MNEMONICS
from tocsin_agent.lab.review.cases import Case
from tocsin_agent.lab.review.folder import Excerpt
from tocsin_agent.messages.reading import INDEX, CaseIndex, IndexedCase, ShownCase
from tocsin_agent.monitor.alarms.table import ALARMS
from tocsin_dsp.signal import FloatArray

PAGE = "review.html"
SHOWN_HZ, SHOWN_LEADS = 125.0, 3
_COUNTS_PER_MV, _MISSING = 200.0, -32768
_FORM, _DATA = "/*FORM*/", "/*DATA*/null"


def write_page(folder: Path, excerpts: Iterable[tuple[Case, Excerpt]]) -> Path:
    """Write the page of some cases, and the cases for the console; return the page's path."""
    shown = sorted((_shown(*one) for one in excerpts), key=lambda one: one.case)
    index = CaseIndex(
        "tocsin/review-index/v1",
        tuple(sorted(ALARMS)),
        tuple(MNEMONICS),
        tuple(IndexedCase(one.case, one.asked, one.seconds) for one in shown),
    )
    (folder / INDEX).write_bytes(msgspec.json.encode(index) + b"\n")
    for one in shown:
        (folder / f"{one.case}.json").write_bytes(msgspec.json.encode(one) + b"\n")
    cases = msgspec.json.encode(shown)
    data = {
        "id": hashlib.sha256(cases).hexdigest(),  # answers in a browser are those to this review
        "conditions": index.conditions,
        "labels": index.labels,
        "cases": msgspec.Raw(cases),
    }
    template = (files("tocsin_agent.lab.review") / "page.html").read_text(encoding="utf-8")
    form = (files("tocsin_agent.drawing") / "case.js").read_text(encoding="utf-8")
    # `</` would end the script in which the data are.
    text = msgspec.json.encode(data).decode().replace("</", "<\\/")
    file = folder / PAGE
    page = template.replace(_FORM, form).replace(_DATA, text)
    file.write_text(page, encoding="utf-8")
    return file


def _shown(case: Case, excerpt: Excerpt) -> ShownCase:
    step = max(1, round(case.rate_hz / SHOWN_HZ))
    samples = _thinned(excerpt.samples_mv[:, :SHOWN_LEADS], step)
    counts = np.clip(np.rint(samples * _COUNTS_PER_MV), -32767, 32767)
    packed = np.where(np.isnan(counts), _MISSING, counts).astype("<i2")
    return ShownCase(
        case=case.case,
        asked=case.asked,
        seconds=(case.stop - case.start) / case.rate_hz,
        rate=case.rate_hz / step,
        leads=excerpt.leads[:SHOWN_LEADS],
        data=base64.b64encode(packed.tobytes()).decode(),
        beats=tuple((float(round(at / case.rate_hz, 4)), label) for at, label in excerpt.beats),
    )


def _thinned(samples: FloatArray, step: int) -> FloatArray:
    """Return means of `step` samples, so that nothing folds into the picture."""
    rows = len(samples) // step * step
    return np.asarray(samples[:rows].reshape(-1, step, samples.shape[1]).mean(axis=1))

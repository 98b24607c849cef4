"""Excerpts of the ECG around the worst errors, with the labels of reference and agent."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from tocsin_agent.lab.ec57.annotations import AAMI_CLASS, read_annotations, read_header
from tocsin_agent.lab.evaluate.databases import Selection
from tocsin_agent.lab.evaluate.evaluation import reference_of
from tocsin_agent.lab.evaluate.judge import named, run_agent
from tocsin_agent.lab.evaluate.report import StripOf
from tocsin_agent.sources.base import EndOfStream
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.signal import FloatArray

HALF_S = 4.0  # s, on either side of the error


def excerpts_of(
    selection: Selection, leads: tuple[str, ...] | None, reference: str | None
) -> Callable[[str, int], StripOf | None]:
    """Return a function that gives the excerpt around a sample of a record, of its first lead."""
    run = lru_cache(maxsize=1)(lambda path: run_agent(path, leads))

    def excerpt(record: str, sample: int) -> StripOf | None:
        path = selection.folder / record
        beats, _, rate_hz, _ = run(str(path))
        start = max(0, sample - round(HALF_S * rate_hz))
        stop = sample + round(HALF_S * rate_hz)
        header = read_header(path.with_name(f"{path.name}.hea"))
        where = reference_of(selection, record, leads, reference)
        if where is None:
            return None
        marked = read_annotations(path.with_name(f"{path.name}.{where.annotator}"), header)
        marks: list[tuple[int, str, str]] = [
            (int(at), AAMI_CLASS[symbol], "reference")
            for at, symbol in zip(marked.sample, marked.symbol, strict=True)
            if symbol in AAMI_CLASS and start <= at < stop
        ]
        marks += [(b.r_index, b.label, "test") for b in beats if start <= b.r_index < stop]
        samples = _samples(str(path), leads, start, stop)
        return StripOf(rate_hz, samples, start, marks) if len(samples) else None

    return excerpt


def _samples(path: str, leads: tuple[str, ...] | None, start: int, stop: int) -> FloatArray:
    """Return the samples of the first lead from `start` to `stop` or to the end of the record."""
    pieces: list[FloatArray] = []
    with open_source(path, block_s=60.0, leads=named(path, leads)) as source:
        try:
            while True:
                block = source.read(1.0)
                if block is None or block.stop_index <= start:
                    continue
                if block.start_index >= stop:
                    break
                rows = slice(max(start - block.start_index, 0), stop - block.start_index)
                pieces.append(block.samples_mv[rows, 0])
        except EndOfStream:
            pass
    return np.concatenate(pieces) if pieces else np.empty(0)

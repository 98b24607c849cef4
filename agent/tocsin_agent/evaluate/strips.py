"""Pieces of the ECG around what went wrong, with both sides' labels."""

from __future__ import annotations

from collections.abc import Callable

from tocsin_agent.ec57.annotations import AAMI_CLASS, read_annotations, read_header
from tocsin_agent.evaluate.databases import Selection
from tocsin_agent.evaluate.judge import run_agent
from tocsin_agent.evaluate.report import StripOf
from tocsin_agent.sources import open_source
from tocsin_agent.sources.base import EndOfStream

HALF_S = 4.0


def strips_of(
    selection: Selection, leads: tuple[str, ...] | None, reference: str
) -> Callable[[str, int], StripOf | None]:
    """Return what fetches the strip around a sample of a record: its first lead in use."""

    def strip(record: str, sample: int) -> StripOf | None:
        path = selection.folder / record
        beats, _, rate_hz, _ = run_agent(str(path), leads)
        start = max(0, sample - round(HALF_S * rate_hz))
        stop = sample + round(HALF_S * rate_hz)
        truth = read_annotations(
            path.with_name(f"{path.name}.{reference}"),
            read_header(path.with_name(f"{path.name}.hea")),
        )
        marks: list[tuple[int, str, str]] = [
            (int(at), AAMI_CLASS[symbol], "reference")
            for at, symbol in zip(truth.sample, truth.symbol, strict=True)
            if symbol in AAMI_CLASS and start <= at < stop
        ]
        marks += [(b.r_index, b.label, "test") for b in beats if start <= b.r_index < stop]
        with open_source(str(path), block_s=60.0, leads=leads) as source:
            try:
                while True:
                    block = source.read(1.0)
                    if block is None or block.stop_index <= start:
                        continue
                    rows = block.samples_mv[max(start - block.start_index, 0) :, 0]
                    first = max(start, block.start_index)
                    return StripOf(rate_hz, rows[: stop - first], first, marks)
            except EndOfStream:
                return None

    return strip

"""Reads a recording as a whole."""

from __future__ import annotations

import numpy as np

from tocsin_agent.errors import SourceError
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_dsp.signal import FloatArray


def read(source: Source) -> tuple[list[int], FloatArray]:
    """Return the index of each sample, and the samples; raises what the source raises."""
    indices, samples, fault = read_to_fault(source)
    if fault is not None:
        raise fault
    return indices, samples


def read_to_fault(source: Source) -> tuple[list[int], FloatArray, SourceError | None]:
    """Return what can be read of a source, and the error that ends it."""
    indices: list[int] = []
    parts: list[FloatArray] = [np.empty((0, len(source.spec.leads)))]
    fault: SourceError | None = None
    while True:
        try:
            block = source.read(0)
        except EndOfStream:
            break
        except SourceError as error:
            fault = error
            break
        assert block is not None
        indices += range(block.start_index, block.stop_index)
        parts.append(block.samples_mv)
    return indices, np.concatenate(parts), fault

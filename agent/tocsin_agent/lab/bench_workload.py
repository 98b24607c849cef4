"""What the bench measures: the excerpt of mitdb 208, repeated, and a monitor that takes it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tocsin_agent.lab.bench_peers import RATE_HZ
from tocsin_agent.monitor import PatientMonitor, Report
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec
from tocsin_models import load_models

BULK_BLOCK_S = 60
LIVE_BLOCK_S = 0.25


def excerpt() -> FloatArray:
    """Return the packaged excerpt of mitdb 208, shape (n, 1), mV."""
    with open_source("excerpt", block_s=400.0) as source:
        block = source.read(1.0)
    assert block is not None  # noqa: S101 - a recording always has a block
    return block.samples_mv


def two_leads(ecg: FloatArray) -> FloatArray:
    """Return an ECG of two leads, made of one."""
    return np.concatenate((ecg, -0.5 * ecg), axis=1)


def repeated(ecg: FloatArray, seconds: float, block_s: float) -> Iterator[tuple[int, FloatArray]]:
    """Yield (start index, samples) of an ECG of some minutes, over and over."""
    size = round(block_s * RATE_HZ)
    extended = np.concatenate((ecg, ecg[:size]))
    for start in range(0, round(seconds * RATE_HZ), size):
        at = start % len(ecg)
        yield start, extended[at : at + size]


def monitored(ecg: FloatArray, seconds: float, block_s: float) -> Iterator[tuple[float, Report]]:
    """Monitor an ECG, over and over; yield the time after each block, s, and its report."""
    leads = tuple(f"lead {i + 1}" for i in range(ecg.shape[1]))
    spec = StreamSpec("bench", RATE_HZ, leads)
    monitor = PatientMonitor(spec, models=load_models())
    for start, samples in repeated(ecg, seconds, block_s):
        yield (start + len(samples)) / RATE_HZ, monitor.push(SampleBlock(spec, start, samples))

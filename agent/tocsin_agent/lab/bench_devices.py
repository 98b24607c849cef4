"""The cost of reading devices: sixty-four at once, on one core."""

from __future__ import annotations

import time

import numpy as np

from tocsin_agent.sources.devices.protocol.frames import frame
from tocsin_agent.sources.devices.protocol.packets import Hello, Lead
from tocsin_agent.sources.devices.protocol.samples import SamplePacket, encode_samples
from tocsin_agent.sources.devices.protocol.session import Session
from tocsin_dsp.signal import FloatArray

DEVICES, RATE_HZ, BLOCK = 64, 250, 25
_BUFFER_S, _SECONDS = 10, 60


def devices_x_realtime(ecg_mv: FloatArray) -> float:
    """Return how many times faster than real time one core reads 64 devices.

    Each device sends two leads at 250 Hz in packets of 100 ms. Measured is the CPU time from bytes,
    in buffers of ten seconds, to samples in order.

    Parameters
    ----------
    ecg_mv : ndarray of float64, shape (n,)
        What they send, in mV at 250 Hz; at least a minute.
    """
    hello = Hello(1, "bench", (Lead("I", 5_000_000), Lead("II", 5_000_000)), RATE_HZ * 1000)
    counts = np.rint(ecg_mv[: _SECONDS * RATE_HZ] * 200.0).astype(np.int32)
    rows = np.stack((counts, -counts), axis=1)
    frames = [frame(hello.encode())]
    for number, at in enumerate(range(0, len(rows), BLOCK)):
        packet = SamplePacket(1, number, at, at * 4000, rows[at : at + BLOCK])
        frames.append(frame(encode_samples(packet)))
    each = _BUFFER_S * RATE_HZ // BLOCK
    buffers = [b"".join(frames[at : at + each]) for at in range(0, len(frames), each)]
    started, samples = time.process_time(), 0
    for _ in range(DEVICES):
        session = Session()
        for number, data in enumerate(buffers):
            pieces = session.feed(data, float(number * _BUFFER_S))
            samples += sum(len(piece.samples_mv) for piece in pieces)
    if samples != DEVICES * len(rows):
        raise RuntimeError(f"{samples} of {DEVICES * len(rows)} samples were read")
    return _SECONDS / (time.process_time() - started)

"""Pacing pulses that no device marked: samples that no ECG could reach become missing.

A pacemaker continues when the heart does not respond. Its pulses, below 40 Hz, look like a narrow
QRS, and one of 100 mV hides the QRS behind it. An ECG changes by at most `SLOPE_V_PER_S`, the
greatest rate of the input signals of IEC 60601-2-27; the steepest QRS of mitdb and svdb (DS1, all
of svdb) reaches 0.23. What is further from the last good sample than that slope allows is missing
for up to `LONGEST_S`, and what is still there then is accepted: a step of the electrode.

No pulse begins within `REST_S` after another step as steep, so that noise keeps its shape. A pulse
of 2 ms is steep enough from about 1 mV on (at 250 Hz 2.5 mV); a faint one passes, and
`tocsin_dsp.detection.candidates` rejects it by its shape.

Latency: none.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.arrays import is_any
from tocsin_dsp.signal import FloatArray

SLOPE_V_PER_S = 0.32
"""Greatest slope of an ECG; V/s is mV/ms."""
LONGEST_S = 0.012
REST_S = 0.04

_Indices = NDArray[np.intp]


class PulseFilter:
    """Make the samples of pacing pulses missing, lead by lead.

    Parameters
    ----------
    rate_hz : float
        Rate of the source.
    leads : int
    """

    def __init__(self, rate_hz: float, leads: int) -> None:
        self._step = 1000 * SLOPE_V_PER_S / rate_hz  # mV a sample
        self._limit = np.array(self._step)
        self._longest = ceil(LONGEST_S * rate_hz)
        self._rest = ceil(REST_S * rate_hz)
        self._leads = leads
        self.restart()

    def restart(self) -> None:
        """Forget the samples before a gap."""
        self._last = np.full((1, self._leads), np.nan)  # last accepted sample, mV
        self._held = [0] * self._leads  # missing samples since it
        self._steep = [-self._rest - 1] * self._leads  # index of the last steep step, next is 0

    def push(self, x: FloatArray) -> FloatArray:
        """Accept samples of the source, shape (n, leads), mV; return them without pulses."""
        if len(x) == 0:
            return x
        joined = np.concatenate((self._last, x))
        steps = joined[1:] - joined[:-1]
        steep = np.abs(steps, out=steps) > self._limit  # false for NaN
        out = x
        if is_any(steep) or any(self._held):
            out, self._last = x.copy(), self._last.copy()
            for lead in range(self._leads):
                self._filter(out[:, lead], steep[:, lead].nonzero()[0], lead)
        else:
            self._last = x[-1:]
        self._steep = [max(at - len(x), -self._rest - 1) for at in self._steep]
        return out

    def _filter(self, x: FloatArray, steep: _Indices, lead: int) -> None:
        """Replace the pulses of one lead, in place; `steep` are its steep steps."""
        alone = steep[np.diff(steep, prepend=self._steep[lead]) > self._rest].tolist()
        last, held, at = float(self._last[0, lead]), self._held[lead], 0
        while at < len(x):
            if not held:
                at = next((start for start in alone if start >= at), len(x))
                if at == len(x):
                    break
                last = float(x[at - 1]) if at else last
            while at < len(x) and held < self._longest:
                if not abs(float(x[at]) - last) > self._step * (held + 1):
                    break
                x[at] = np.nan
                held, at = held + 1, at + 1
            if at < len(x):
                held = 0
        self._last[0, lead] = last if held else x[-1]
        self._held[lead] = held
        if len(steep):
            self._steep[lead] = int(steep[-1])

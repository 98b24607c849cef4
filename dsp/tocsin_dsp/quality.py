"""Signal quality of each lead, every half second.

Plausibility in millivolts lives here and not in detection: what is flat, railed or absurd is a
statement about the electrode. Roughness, the mean step over the range, tells muscle and contact
noise from an ECG whatever its gain: a QRS makes a large range with few large steps. An electrode
that has lost contact leaves a long one-way drift while the amplifier recovers (mitdb 208 at 23:04);
on one lead that is all that tells it from asystole.

Latency: up to one hop, 0.5 s.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.signal import FloatArray

HOP = ANALYSIS_RATE_HZ // 2
FLAT_MV = 0.005  # an open or shorted input: even a heart that stands still leaves more
ABSURD_MV = 15.0  # no surface ECG spans this in half a second
ROUGH, VERY_ROUGH = 0.055, 0.07  # 99 % of mitdb's DS1 stay below 0.038 (first lead), 0.062 (second)
OVER = 4  # half seconds over which roughness is taken
RAIL_SHARE = 0.5  # of a half second at the converter's limit
DRIFT_MV = 0.4  # an electrode that lost contact drifts so far in a second, one way,
DRIFT_PATH = (
    1.2  # with hardly a step back: path over range; 15 half seconds in 22 h of leads of DS1
)


class LeadState(IntEnum):
    """What a half second of one lead is; everything above `NOISY` carries no ECG."""

    GOOD = 0
    NOISY = 1
    LOOSE = 2
    FLAT = 3
    SATURATED = 4
    MISSING = 5

    @property
    def carries_ecg(self) -> bool:
        """True where a QRS would be visible if there was one."""
        return self <= LeadState.NOISY


class Hop(NamedTuple):
    """The quality of all leads over the half second that ends before analysis index `stop`.

    `used` is the column that beats are taken from, from `stop` on.
    """

    stop: int
    states: tuple[LeadState, ...]
    values: tuple[float, ...]  # 0 (unreadable) to 1 (clean)
    used: int = 0

    @property
    def carries_ecg(self) -> bool:
        """True where at least one lead does."""
        return any(state.carries_ecg for state in self.states)


_STATES = tuple(LeadState)
_LEVEL = np.array([1.0, 0.3, 0.0, 0.0, 0.0, 0.0])


class QualityMeter:
    """Judge every lead on a fixed grid of half seconds.

    Parameters
    ----------
    leads : int
    range_mv : tuple of float, optional
        The converter's limits; without them a railed lead is seen as flat.
    """

    def __init__(self, leads: int, range_mv: tuple[float, float] | None = None) -> None:
        self._range = range_mv
        self._leads = leads
        self.skip_to(0)

    def skip_to(self, next_index: int) -> None:
        """Go on after a gap; the next sample has this analysis index."""
        lead_in = next_index % HOP
        self._next = next_index
        self._rest = np.full((lead_in, self._leads), np.nan)
        self._roughness = np.full((OVER - 1, self._leads), np.nan)  # of the half seconds before
        self._drift = np.zeros(self._leads)  # of the half second before, mV, signed

    def push(self, x: FloatArray) -> list[Hop]:
        """Take analysis samples, shape (n, leads); return the half seconds that they complete."""
        x = np.concatenate((self._rest, x))
        hops = len(x) // HOP
        first_stop = self._next - len(self._rest) + HOP
        self._next += len(x) - len(self._rest)
        self._rest = x[hops * HOP :]
        if hops == 0:
            return []
        states, values = self._judge(x[: hops * HOP].reshape(hops, HOP, self._leads))
        return [
            Hop(first_stop + i * HOP, tuple([_STATES[s] for s in row]), tuple(v))
            for i, (row, v) in enumerate(zip(states.tolist(), values.tolist(), strict=True))
        ]

    def _judge(self, x: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
        missing = np.isnan(x)
        gone = missing.mean(axis=1) > 0.5
        low = np.where(missing, np.inf, x).min(axis=1)
        high = np.where(missing, -np.inf, x).max(axis=1)
        span = np.where(gone, 1.0, high - low)
        steps = np.abs(np.diff(x, axis=1))
        counted = np.maximum((~np.isnan(steps)).sum(axis=1), 1)
        step = np.nan_to_num(steps).sum(axis=1) / counted
        roughness = self._over_two_seconds(np.where(gone, np.nan, step / np.maximum(span, 1e-12)))
        state = np.full(gone.shape, int(LeadState.GOOD))
        state[(roughness > VERY_ROUGH) | (span > ABSURD_MV)] = LeadState.NOISY
        state[self._drifted(x, span, step * counted)] = LeadState.LOOSE
        state[span < FLAT_MV] = LeadState.FLAT
        if self._range is not None:
            margin = 0.005 * (self._range[1] - self._range[0])
            railed = (x < self._range[0] + margin) | (x > self._range[1] - margin)
            state[railed.mean(axis=1) > RAIL_SHARE] = LeadState.SATURATED
        state[gone] = LeadState.MISSING
        clean = 1.0 - 0.7 * np.clip((roughness - ROUGH) / (VERY_ROUGH - ROUGH), 0, 1)
        return state, np.round(np.minimum(clean, _LEVEL[state]), 3)

    def _over_two_seconds(self, now: FloatArray) -> FloatArray:
        """Return the mean of this and the half seconds before it that are known."""
        x = np.concatenate((self._roughness, now))
        self._roughness = x[len(now) :]
        parts = [x[i : i + len(now)] for i in range(OVER)]
        known = sum((~np.isnan(p)).astype(np.float64) for p in parts)
        total = sum(np.nan_to_num(p) for p in parts)
        return np.asarray(total / np.maximum(known, 1.0))

    def _drifted(self, x: FloatArray, span: FloatArray, path: FloatArray) -> NDArray[np.bool_]:
        """Tell which half seconds continue a one-way drift that began in the one before."""
        drift = np.nan_to_num(x[:, -1] - x[:, 0])
        drift[path > DRIFT_PATH * span] = 0.0
        before = np.concatenate((self._drift[None], drift[:-1]))
        self._drift = drift[-1]
        return (drift * before > 0) & (np.abs(drift + before) > DRIFT_MV)

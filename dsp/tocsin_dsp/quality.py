"""Signal quality of each lead, every half second.

The quality index is how much the lead rests between its beats. *Unrest* is the steepest step of
the usual tenth of a second, over the steepest of the last two seconds: an ECG has a steep QRS and
little else, noise is as steep everywhere. It is the kurtosis among the indices of Li, Mark &
Clifford (Physiol. Meas. 29:15, 2008) and Behar et al. (IEEE Trans. Biomed. Eng. 60:1660, 2013) put
into order statistics, which are exact and which a single spike or a wandering baseline does not
move. A rhythm without rest (ventricular tachycardia, flutter, fibrillation) lowers it as noise
does: it tells how far single beats stand out, and is no reason to disbelieve a rhythm.

Plausibility in millivolts lives here and not in detection, which knows none: used to it, it would
count the noise of a heart that stands still, while a monitor must not take 0.15 mV for a QRS (IEC
60601-2-27). And what is flat, railed or absurd is a statement about the electrode. Roughness, the
mean step over the range, tells white noise, of which nothing can be read, from every rhythm
whatever its gain. An electrode that has lost contact leaves a long one-way drift while the
amplifier recovers (mitdb 208 at 23:04); on one lead that is all that tells it from asystole.

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
FAINTEST_MV = 0.038  # of a beat: the detector's level of a triangle of 0.15 mV and 80 ms
ABSURD_MV = 15.0  # no surface ECG spans this in half a second
TENTHS = 5  # of a second, in a half second
RESTFUL, RESTLESS = 0.10, 0.45  # unrest at which the quality is 1, and 0: half of cinc2017, and DS1
VERY_ROUGH = 0.07  # 99 % of mitdb's DS1 stay below 0.038 (first lead), 0.062 (second)
RESTING_MV = 0.15  # what spans less hides no QRS (IEC 60601-2-27): a heart that stands still
OVER = 4  # half seconds over which roughness and unrest are taken: a QRS is in them at 30/min
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
        # Of the half seconds before: roughness, the usual tenth's steepest step, the steepest step.
        self._before = np.full((OVER - 1, 3, self._leads), np.nan)
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
        hops, _, leads = x.shape
        missing = np.isnan(x)
        gone = np.count_nonzero(missing, axis=1) > HOP // 2
        span = np.fmax.reduce(x, axis=1) - np.fmin.reduce(x, axis=1)
        span[gone] = 1.0
        steps = np.zeros(x.shape)
        np.abs(x[:, 1:] - x[:, :-1], out=steps[:, 1:])
        unknown = np.isnan(steps)
        steps[unknown] = 0.0
        path = steps.sum(axis=1)
        counted = HOP - 1 - np.count_nonzero(unknown, axis=1)
        tenths = np.sort(steps.reshape(hops, TENTHS, -1, leads).max(axis=2), axis=1)
        rough = path / np.maximum(counted, 1) / np.maximum(span, 1e-12)
        now = np.stack((rough, tenths[:, TENTHS // 2], tenths[:, -1]), axis=1)
        now.transpose(0, 2, 1)[gone] = np.nan
        roughness, unrest = self._over_two_seconds(now)
        state = np.full(gone.shape, int(LeadState.GOOD))
        rough = (roughness > VERY_ROUGH) & (span > RESTING_MV)
        state[rough | (span > ABSURD_MV)] = LeadState.NOISY
        state[self._drifted(x, span, path)] = LeadState.LOOSE
        state[span < FLAT_MV] = LeadState.FLAT
        if self._range is not None:
            margin = 0.005 * (self._range[1] - self._range[0])
            railed = (x < self._range[0] + margin) | (x > self._range[1] - margin)
            state[np.count_nonzero(railed, axis=1) > RAIL_SHARE * HOP] = LeadState.SATURATED
        state[gone] = LeadState.MISSING
        clean = (RESTLESS - unrest) / (RESTLESS - RESTFUL)
        return state, np.round(np.maximum(np.minimum(clean, _LEVEL[state]), 0.0), 3)

    def _over_two_seconds(self, now: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return roughness and unrest over this and the half seconds before it that are known."""
        x = np.concatenate((self._before, now))
        self._before = x[len(now) :].copy()
        known = ~np.isnan(x)
        x[~known] = 0.0
        count, total, steepest = known[: len(now), 0].astype(int), x[: len(now)].copy(), x[:, 2]
        highest = steepest[: len(now)]
        for i in range(1, OVER):
            count += known[i : i + len(now), 0]
            total += x[i : i + len(now)]
            highest = np.maximum(highest, steepest[i : i + len(now)])
        roughness = total[:, 0] / np.maximum(count, 1)
        usual = total[:, 1] / np.maximum(count, 1)
        return roughness, usual / np.maximum(highest, 1e-12)

    def _drifted(self, x: FloatArray, span: FloatArray, path: FloatArray) -> NDArray[np.bool_]:
        """Tell which half seconds continue a one-way drift that began in the one before."""
        drift = x[:, -1] - x[:, 0]
        drift[np.isnan(drift)] = 0.0
        drift[path > DRIFT_PATH * span] = 0.0
        before = np.concatenate((self._drift[None], drift[:-1]))
        self._drift = drift[-1]
        return (drift * before > 0) & (np.abs(drift + before) > DRIFT_MV)

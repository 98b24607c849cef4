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

import math
from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
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

    `used` is the column that beats are taken from, from `stop` on. `alone_since` is the R peak
    since which that lead alone shows beats, all of them strange, while a good lead that saw
    the same beats before is silent; None where there is no such lead.
    """

    stop: int
    states: tuple[LeadState, ...]
    values: tuple[float, ...]  # 0 (unreadable) to 1 (clean)
    used: int = 0
    alone_since: int | None = None

    @property
    def decided(self) -> int:
        """The analysis index that decided it, as of every item of a monitor's timeline."""
        return self.stop

    @property
    def carries_ecg(self) -> bool:
        """True where at least one lead does."""
        return any(state.carries_ecg for state in self.states)


_AT_MOST = (1.0, 0.3, 0.0, 0.0, 0.0, 0.0)  # quality, by state
_NOTHING = (0, 0.0, 0.0, 0.0)  # is known of a half second that is missing
_TINY = 1e-12


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
        self._next_stop = next_index - lead_in + HOP
        self._rest = np.full((self._leads, lead_in), np.nan)
        self._judges = [_Judge(self._range) for _ in range(self._leads)]

    def push(self, x: FloatArray) -> list[Hop]:
        """Take analysis samples, shape (n, leads); return the half seconds that they complete."""
        rows = np.concatenate((self._rest, x.T), axis=1)
        hops = rows.shape[1] // HOP
        self._rest = rows[:, hops * HOP :]
        if hops == 0:
            return []
        halves = rows[:, : hops * HOP].reshape(self._leads, hops, HOP)
        judged = [
            list(map(judge.judge, lead, measured))
            for judge, lead, measured in zip(self._judges, halves, _measured(halves), strict=True)
        ]
        told = []
        for leads in zip(*judged, strict=True):
            states, values = zip(*leads, strict=True)
            told.append(Hop(self._next_stop, states, values))
            self._next_stop += HOP
        return told


def _measured(x: FloatArray) -> list[Iterator[tuple[Any, ...]]]:
    """Measure half seconds, shape (leads, n, HOP); what is missing takes no part.

    Returns
    -------
    list
        By lead and half second: samples and steps that are known; mV: the highest sample, the
        lowest, the sum of the steps, the steepest step of each tenth in order of size, and the
        drift from the first sample to the last.
    """
    steps = np.zeros(x.shape)  # the first tenth has one less
    np.abs(x[:, :, 1:] - x[:, :, :-1], out=steps[:, :, 1:])
    stepped = (steps == steps).sum(axis=2) - 1  # noqa: PLR0124 - NaN is not
    steps = np.fmax(steps, 0.0)
    tenths = steps.reshape(*x.shape[:2], TENTHS, -1).max(axis=3)
    tenths.sort(axis=2)
    measured = (
        (x == x).sum(axis=2),  # noqa: PLR0124
        stepped,
        np.fmax.reduce(x, axis=2),
        np.fmin.reduce(x, axis=2),
        steps.sum(axis=2),
        tenths,
        x[:, :, -1] - x[:, :, 0],
    )
    leads = zip(*[values.tolist() for values in measured], strict=True)
    return [zip(*lead, strict=True) for lead in leads]


class _Judge:
    """Judge the half seconds of one lead, each with those before it."""

    def __init__(self, range_mv: tuple[float, float] | None) -> None:
        self._low, self._high = range_mv or (-np.inf, np.inf)
        if range_mv is not None:
            margin = 0.005 * (range_mv[1] - range_mv[0])
            self._low, self._high = range_mv[0] + margin, range_mv[1] - margin
        # Whether it is known, roughness, the usual tenth's steepest step, the steepest step.
        self._last = deque([_NOTHING] * OVER, maxlen=OVER)
        self._drift = 0.0

    def judge(self, x: FloatArray, measured: tuple[Any, ...]) -> tuple[LeadState, float]:
        """Return the state and the quality of a half second: its samples, and what they measure."""
        seen, stepped, high, low, path, tenths, drift = measured
        gone = HOP - seen > HOP // 2
        span = 1.0 if gone else high - low
        rough = path / max(stepped, 1) / max(span, _TINY)
        self._last.append(_NOTHING if gone else (1, rough, tenths[TENTHS // 2], tenths[-1]))
        known, roughness, usual, steepest = zip(*self._last, strict=True)
        count = max(sum(known), 1)
        drifted = self._drifts(drift, path, span)
        if gone:
            state = LeadState.MISSING
        elif (low < self._low or high > self._high) and self._is_railed(x):
            state = LeadState.SATURATED
        elif span < FLAT_MV:
            state = LeadState.FLAT
        elif drifted:
            state = LeadState.LOOSE
        elif span > ABSURD_MV or (span > RESTING_MV and sum(roughness) / count > VERY_ROUGH):
            state = LeadState.NOISY
        else:
            state = LeadState.GOOD
        unrest = sum(usual) / count / max(*steepest, _TINY)
        clean = (RESTLESS - unrest) / (RESTLESS - RESTFUL)
        return state, round(1000 * max(min(clean, _AT_MOST[state]), 0.0)) / 1000

    def _is_railed(self, x: FloatArray) -> bool:
        railed = (x < self._low) | (x > self._high)
        return int(railed.sum()) > RAIL_SHARE * HOP

    def _drifts(self, drift: float, path: float, span: float) -> bool:
        """Tell whether a half second continues a one-way drift that began in the one before."""
        if math.isnan(drift) or path > DRIFT_PATH * span:
            drift = 0.0
        before, self._drift = self._drift, drift
        return drift * before > 0 and abs(drift + before) > DRIFT_MV

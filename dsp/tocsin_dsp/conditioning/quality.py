"""Signal quality of each lead, every half second.

The quality index measures how quiet the lead is between its beats. The *noise ratio* is the
steepest step of the median tenth of a second over the steepest step of the last two seconds: an ECG
has a steep QRS and little else, noise is as steep everywhere. It replaces the kurtosis among the
indices of Li, Mark & Clifford (Physiol. Meas. 29:15, 2008) and Behar et al. (IEEE Trans. Biomed.
Eng. 60:1660, 2013) by order statistics, which are exact and which neither a single spike nor a
wandering baseline changes. A rhythm without quiet intervals (ventricular tachycardia, flutter,
fibrillation) lowers the index as noise does: it measures how far single beats stand out, and a low
value is no evidence against a rhythm.

Limits in millivolts are applied here and not in detection, whose thresholds adapt to any level and
would, during asystole, count noise as beats, while a monitor must not take 0.15 mV for a QRS (IEC
60601-2-27). Flat, saturated and implausibly large signals are faults of the electrode. Roughness,
the mean step over the range, separates white noise, which cannot be read at all, from every rhythm
at any gain. An electrode that has lost contact leaves a long one-way drift while the amplifier
recovers (mitdb 208 at 23:04); on one lead nothing else distinguishes it from asystole.

Latency: up to one hop, 0.5 s.
"""

from __future__ import annotations

import math
from collections import deque
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.exact import all_known
from tocsin_dsp.signal import ABSURD_MV, FloatArray

if TYPE_CHECKING:
    from tocsin_dsp.beats.beats import RelatedBeat

HOP = ANALYSIS_RATE_HZ // 2
"""Analysis samples in a half second, the unit in which quality is judged."""
TENTHS = 5
"""Tenths of a second in a hop."""
OVER = 4
"""Hops over which roughness and noise ratio are taken: they contain a QRS down to 30 per minute."""

FLAT_MV = 0.005
"""Range below which an input is open or shorted: more is left even in asystole."""
RESTING_MV = 0.15
"""Range below which there is no QRS (IEC 60601-2-27), so that it may be asystole but not noise."""
CLIPPED_MV = 0.05
"""Range from which samples at the highest and lowest value are counted as clipped."""
RAIL_NEAR = 0.01
"""Share of a hop's range within which a sample counts as at its highest or lowest value."""
FAINTEST_MV = 0.038
"""Smallest level of a beat: the detector's level of a triangle of 0.15 mV and 80 ms."""
CERTAIN_MV = 0.041
"""Level that no triangle of 0.15 mV reaches, whatever its duration (60 ms: 0.0406)."""
SMALLEST_SPAN_MV = 0.148
"""Smallest peak-to-peak value of a beat below that level: 0.15 mV after the low-pass."""

BEST_NOISE_RATIO = 0.10
"""Noise ratio at and below which the quality is 1; chosen on half of cinc2017 and on DS1."""
WORST_NOISE_RATIO = 0.45
"""Noise ratio at and above which the quality is 0; chosen on the same records."""
VERY_ROUGH = 0.07
"""Roughness from which it is unreadable noise: 99 % of DS1 stay below 0.038 (first lead) and 0.062
(second lead)."""

RAIL_SHARE = 0.5
"""Share of a hop at the converter's limit from which the lead is saturated."""
DRIFT_MV = 0.4
"""One-way drift within two hops that a lost electrode shows."""
DRIFT_PATH = 1.2
"""Greatest path over range of such a drift; 15 hops in 22 h of leads of DS1 are below."""


class LeadState(IntEnum):
    """The state of one lead over a half second; all above `NOISY` carry no ECG."""

    GOOD = 0
    NOISY = 1
    LOOSE = 2
    FLAT = 3
    SATURATED = 4
    MISSING = 5

    @property
    def carries_ecg(self) -> bool:
        """True where a QRS would be visible."""
        return self <= LeadState.NOISY


class Extent(NamedTuple):
    """What one lead did within a half second, in mV; all 0 where too few samples are known.

    `clipped` is the share of samples at the highest or the lowest value, `usual_step` and
    `steepest_step` the steepest step of the median and of the steepest tenth of a second.
    """

    high: float = 0.0
    low: float = 0.0
    clipped: float = 0.0
    usual_step: float = 0.0
    steepest_step: float = 0.0

    @property
    def span(self) -> float:
        """Peak-to-peak value."""
        return self.high - self.low


class Hop(NamedTuple):
    """The quality of all leads over the half second that ends before analysis index `stop`.

    `used` is the column of the lead in use from `stop` on. `alone_since` is set where the lead in
    use alone shows beats, all of them atypical, while a good lead that agreed with it before shows
    none: the R peak after which this began. `extents` are the values of each lead; `beats` are the
    beats of every lead, with its column, that were decided since the hop before.
    """

    stop: int
    states: tuple[LeadState, ...]
    values: tuple[float, ...]  # 0 (unreadable) to 1 (clean)
    used: int = 0
    alone_since: int | None = None
    extents: tuple[Extent, ...] = ()
    beats: tuple[tuple[int, RelatedBeat], ...] = ()

    @property
    def decided(self) -> int:
        """The analysis index that decided it, as of every item of a monitor's timeline."""
        return self.stop

    @property
    def carries_ecg(self) -> bool:
        """True where at least one lead does."""
        return any(state.carries_ecg for state in self.states)

    def is_quiet(self, lead: int) -> bool:
        """Return whether a flat lead has the noise of an amplifier: its samples are not all equal.

        An idle input gives equal samples; a heart that stands still on a quiet amplifier does not.
        """
        known = self.states[lead] is LeadState.FLAT and bool(self.extents)
        return known and self.extents[lead].usual_step > 0.0


_MAX_QUALITY = (1.0, 0.3, 0.0, 0.0, 0.0, 0.0)  # by state
_UNKNOWN = (0, 0.0, 0.0, 0.0)  # a hop with too few samples: see `_Judge._last`
_TINY = 1e-12
_TINY_MV, _NEAR, _ONES = np.array(_TINY), np.array(RAIL_NEAR), np.ones(HOP)
_NO_EXTENT = Extent()


class QualityMeter:
    """Judge every lead on a fixed grid of half seconds (hops).

    Parameters
    ----------
    leads : int
    range_mv : tuple of float, optional
        The converter's limits; without them a saturated lead is judged flat.
    """

    def __init__(self, leads: int, range_mv: tuple[float, float] | None = None) -> None:
        self._range = range_mv
        self._leads = leads
        self.skip_to(0)

    def skip_to(self, next_index: int) -> None:
        """Go on after a gap; the next sample has this analysis index."""
        lead_in = next_index % HOP
        self._next_stop = next_index - lead_in + HOP
        self._rest = [np.full((lead_in, self._leads), np.nan)]  # pieces of the hop that has begun
        self._held = lead_in  # samples in them
        self._judges = [_Judge(self._range) for _ in range(self._leads)]

    def push(self, x: FloatArray) -> list[Hop]:
        """Accept analysis samples, shape (n, leads); return the hops that they complete."""
        self._rest.append(x)
        self._held += len(x)
        hops = self._held // HOP
        if hops == 0:
            return []
        samples = np.concatenate(self._rest)
        self._rest = [samples[hops * HOP :]]
        self._held -= hops * HOP
        rows = samples[: hops * HOP].T.copy().reshape(-1, HOP)
        measured = zip(rows, _measured(rows), strict=True)
        judged = [[judge.judge(*each) for each in islice(measured, hops)] for judge in self._judges]
        completed = []
        for leads in zip(*judged, strict=True):
            states, values, extents = zip(*leads, strict=True)
            completed.append(Hop(self._next_stop, states, values, extents=extents))
            self._next_stop += HOP
        return completed


def _measured(x: FloatArray) -> list[tuple[Any, ...]]:
    """Measure hops, contiguous rows of shape (n, HOP), without their missing samples.

    Returns
    -------
    list
        By hop: known samples, known steps; in mV: the highest sample, the lowest sample, the sum
        of the steps, the steepest step of each tenth in order of size, and the drift from the first
        sample to the last; then the samples near the highest and the lowest.
    """
    n, flat = len(x), x.reshape(-1)
    steps = np.zeros(x.shape)
    changes = steps.reshape(-1)[1:]
    np.abs(np.subtract(flat[1:], flat[:-1], out=changes), out=changes)
    steps[:, 0] = 0.0  # the first tenth has one step less
    if all_known(x):
        present, stepped = [HOP] * n, [HOP - 1] * n
    else:
        present = np.add.reduce(x == x, axis=1).tolist()  # noqa: PLR0124 - false for NaN
        stepped = (np.add.reduce(steps == steps, axis=1) - 1).tolist()  # noqa: PLR0124
        steps = np.fmax(steps, 0.0)
    tenths = np.maximum.reduce(steps.reshape(n, TENTHS, -1), axis=2)
    tenths.sort(axis=1)
    high, low = np.fmax.reduce(x, axis=1), np.fmin.reduce(x, axis=1)
    near = np.maximum(high - low, _TINY_MV) * _NEAR
    railed = (x >= (high - near)[:, None]) | (x <= (low + near)[:, None])
    drift = x[:, -1] - x[:, 0]
    path = steps.dot(_ONES)  # exact: the steps are on the sample grid
    measured = (high, low, path, tenths, drift, np.add.reduce(railed, axis=1))
    return list(zip(present, stepped, *[values.tolist() for values in measured], strict=True))


class _Judge:
    """Judge the hops of one lead, each together with those before it."""

    def __init__(self, range_mv: tuple[float, float] | None) -> None:
        self._low, self._high = range_mv or (-np.inf, np.inf)
        if range_mv is not None:
            margin = 0.005 * (range_mv[1] - range_mv[0])
            self._low, self._high = range_mv[0] + margin, range_mv[1] - margin
        # Of each hop: 1 if known, roughness, steepest step of the median tenth, steepest step.
        self._last = deque([_UNKNOWN] * OVER, maxlen=OVER)
        self._drift = 0.0  # mV, of the last hop

    def judge(self, x: FloatArray, measured: tuple[Any, ...]) -> tuple[LeadState, float, Extent]:
        """Return the state, the quality and the extent of a hop, from its samples and measures."""
        present, stepped, high, low, path, tenths, drift, near_rails = measured
        gone = HOP - present > HOP // 2
        span = 1.0 if gone else high - low
        rough = path / max(stepped, 1) / max(span, _TINY)
        self._last.append(_UNKNOWN if gone else (1, rough, tenths[TENTHS // 2], tenths[-1]))
        known, roughness, typical, steepest = zip(*self._last, strict=True)
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
        noise_ratio = sum(typical) / count / max(*steepest, _TINY)
        clean = (WORST_NOISE_RATIO - noise_ratio) / (WORST_NOISE_RATIO - BEST_NOISE_RATIO)
        quality = round(1000 * max(min(clean, _MAX_QUALITY[state]), 0.0)) / 1000
        if not present:
            return state, quality, _NO_EXTENT
        clipped = near_rails / HOP if high - low > CLIPPED_MV else 0.0
        return state, quality, Extent(high, low, clipped, tenths[TENTHS // 2], tenths[-1])

    def _is_railed(self, x: FloatArray) -> bool:
        railed = (x < self._low) | (x > self._high)
        return int(railed.sum()) > RAIL_SHARE * HOP

    def _drifts(self, drift: float, path: float, span: float) -> bool:
        """Return whether a hop continues a one-way drift that began in the hop before."""
        if math.isnan(drift) or path > DRIFT_PATH * span:
            drift = 0.0
        before, self._drift = self._drift, drift
        return drift * before > 0 and abs(drift + before) > DRIFT_MV

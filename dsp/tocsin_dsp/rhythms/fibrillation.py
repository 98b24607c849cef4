"""Windows in which ventricular fibrillation or flutter would show: 4 s of one lead, every second.

Fibrillation has no beats to describe: it is recognised by the waveform of some seconds (Amann,
Tratnig & Unterkofler, Biomed. Eng. Online 4:60, 2005, compare methods). Its energy lies at 2 to 10
Hz, so 50 points per second are enough, and all below 0.6 Hz is baseline: the first five cosines of
the window are removed.

Nearly all of a long recording is obviously not fibrillation: a beating heart is steep for a short
part of each cycle and level for the rest, and fibrillation is never level. A window whose mean
slope is small against its steepest (`STEEP_SHARE`) is skipped, and so is one fainter than
`FAINTEST_MV`: a peak-to-peak voltage below 0.1 mV is asystole (Kerber et al., Circulation 95:1677,
1997). The others, 1 in 200 of mitdb, are *suspect* and are described for a classifier.

Missing samples (a converter at its limit, a pacing pulse) are bridged by the last known value for
up to `BRIDGED`; a window of which more than `MISSING_SHARE` is missing is not described.

Latency: none beyond the second with which a window ends; its last point is 28 ms old.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.arrays import windows
from tocsin_dsp.conditioning.condition import Conditioned
from tocsin_dsp.conditioning.quality import Hop
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.exact import COEFFICIENT_STEP, all_known, on_coefficient_grid, rounded
from tocsin_dsp.leads.leads import Observation
from tocsin_dsp.signal import ABSURD_MV, FloatArray

STEP = 5  # analysis samples per point
SECOND = ANALYSIS_RATE_HZ // STEP  # points per second
SECONDS = 4  # length of a window
POINTS = SECONDS * SECOND  # in a window
TAPS = 3 * STEP  # analysis samples in the decimation filter
LEAD_IN = TAPS - STEP  # analysis samples before a second that its first point depends on
KERNEL = on_coefficient_grid(np.hanning(TAPS + 2)[1:-1] / np.hanning(TAPS + 2).sum(), total=1.0)
BRIDGED = ANALYSIS_RATE_HZ // 2  # missing samples in a row that the last known value replaces
MISSING_SHARE = 0.25  # of a window may be missing
STEEP_SHARE = 0.2  # mean over steepest slope; 99.9 % of vfdb's VF is above, 99 % of mitdb below
FAINTEST_MV = 0.1 / np.pi  # mean absolute value of a sinusoid of 0.1 mV peak to peak
FEATURES = {  # name: (centre, gain); the input is (value - centre) * gain, within ±LIMIT
    "level": (0.5, 6.0),  # mean absolute value, mV: x / (x + USUAL_MV)
    "slope_to_steepest": (0.33, 8.0),
    "slope_to_level": (0.35, 6.0),
    "crest": (3.0, 1.0),
}
USUAL_MV = 0.2  # mean absolute value at which the feature `level` is 0.5
LIMIT = 3.0  # of a scaled feature
SHAPE_LIMIT = 6.0  # of a shape, in mean absolute values
_CENTRE, _GAIN = np.array(list(FEATURES.values())).T
# Orthonormal cosines on the coefficient grid, scaled so that both products below are exact.
_COSINES = np.cos(np.pi * np.outer(np.arange(5), np.arange(POINTS) + 0.5) / POINTS)
_COSINES /= np.sqrt((_COSINES**2).sum(axis=1, keepdims=True))
_ANALYSIS = np.rint(_COSINES / 4 / COEFFICIENT_STEP) * COEFFICIENT_STEP
_SYNTHESIS = np.rint(_COSINES * 4 / COEFFICIENT_STEP) * COEFFICIENT_STEP


class Described(NamedTuple):
    """Windows as inputs of a classifier; `judged` is False where there is nothing to classify.

    `shapes` (n, POINTS) is in units of the window's mean absolute value `levels_mv` (n,), within
    ±SHAPE_LIMIT; `features` (n, len(FEATURES)) lies within ±LIMIT.
    """

    shapes: FloatArray
    features: FloatArray
    levels_mv: FloatArray
    judged: NDArray[np.bool_]


class Window(NamedTuple):
    """Four seconds of one lead that may be fibrillation; `decided` is the index after them.

    `used` is True where the lead is the one in use.
    """

    decided: int
    lead: int
    level_mv: float
    shape: FloatArray
    features: FloatArray
    used: bool = True


TimedItem: TypeAlias = "Observation | Window"


def decimate(x: FloatArray) -> FloatArray:
    """Low-pass and keep every fifth sample: (5 m + 10, leads) on the grid to (m, leads)."""
    each = windows(x, TAPS)[::STEP].reshape(-1, TAPS)
    return rounded(each.dot(KERNEL)).reshape(-1, x.shape[1])


def steepness(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean and the greatest step within each second of (50 m, leads): (m, leads) each.

    Steps from one second to the next are left out.
    """
    seconds = points.reshape(len(points) // SECOND, SECOND, points.shape[1])
    steps = np.abs(seconds[:, 1:] - seconds[:, :-1])
    return np.add.reduce(steps, axis=1) / (SECOND - 1), np.maximum.reduce(steps, axis=1)


def is_suspect(mean: FloatArray, greatest: FloatArray) -> NDArray[np.bool_]:
    """Return for every four seconds in a row, (m, leads) to (m - 3, leads), if they are suspect.

    The steepest step is the median over the seconds, so that one artefact hides nothing.
    """
    last = len(mean) - SECONDS + 1
    slope = sum((mean[i : i + last] for i in range(1, SECONDS)), mean[:last]) / SECONDS
    ordered = np.sort([greatest[i : i + last] for i in range(SECONDS)], axis=0)
    return np.asarray(slope > STEEP_SHARE * (ordered[1] + ordered[2]) / 2)  # False where missing


def describe(windows: FloatArray) -> Described:
    """Describe windows, shape (n, POINTS), mV on the sample grid, none missing."""
    slow = rounded(windows @ _ANALYSIS.T)
    x = rounded(windows - slow @ _SYNTHESIS)
    size = np.abs(x)
    level = size.sum(axis=1) / POINTS
    highest = size.max(axis=1)
    mean, greatest = steepness(x.T.copy())
    ordered = np.sort(greatest, axis=0)
    steepest = (ordered[1] + ordered[2]) / 2
    judged = (level >= FAINTEST_MV) & (highest < ABSURD_MV) & (steepest > 0)
    level_or_1 = np.where(judged, level, 1.0)
    slope = (mean[0] + mean[1] + mean[2] + mean[3]) / SECONDS
    features = np.stack(
        (
            level_or_1 / (level_or_1 + USUAL_MV),
            slope / np.where(judged, steepest, 1.0),
            slope / level_or_1,
            highest / level_or_1,
        ),
        axis=1,
    )
    shapes = np.clip(x / level_or_1[:, None], -SHAPE_LIMIT, SHAPE_LIMIT)
    scaled = np.clip((features - _CENTRE) * _GAIN, -LIMIT, LIMIT)
    return Described(shapes, scaled, level, judged)


class WindowObserver:
    """Describe the suspect windows of every lead, one a lead and second.

    Parameters
    ----------
    leads : int
    """

    def __init__(self, leads: int) -> None:
        self._leads = leads
        self.skip_to(0)

    def skip_to(self, next_index: int) -> None:
        """Continue after a gap; the next sample has this analysis index."""
        second = next_index // ANALYSIS_RATE_HZ * ANALYSIS_RATE_HZ
        self._next_stop = second + ANALYSIS_RATE_HZ  # of the current second
        self._rest = [np.full((LEAD_IN + next_index - second, self._leads), np.nan)]
        self._held = len(self._rest[0])
        before = SECONDS - 1
        self._points = np.full((before * SECOND, self._leads), np.nan)
        self._missing = np.zeros((before, self._leads))  # samples, by second
        self._last = np.full(self._leads, np.nan)  # known value
        self._age = np.zeros(self._leads, np.int64)  # samples since it
        self._mean = self._greatest = np.full((before, self._leads), np.nan)

    def push(self, piece: Conditioned, observed: list[Observation]) -> list[TimedItem]:
        """Return the same observations, and after each second its windows that are suspect."""
        if piece.restarted:
            self.skip_to(piece.start)
        self._rest.append(piece.samples)
        self._held += len(piece.samples)
        seconds = (self._held - LEAD_IN) // ANALYSIS_RATE_HZ
        if seconds <= 0:
            return list(observed)
        samples = np.concatenate(self._rest)
        complete = seconds * ANALYSIS_RATE_HZ
        known, missing = self._bridge(samples[: complete + LEAD_IN], complete)
        points = np.concatenate((self._points, decimate(known)))
        mean, greatest = steepness(points[-seconds * SECOND :])
        mean = np.concatenate((self._mean, mean))
        greatest = np.concatenate((self._greatest, greatest))
        missing = np.concatenate((self._missing, missing))
        windows = self._describe(points, is_suspect(mean, greatest) & _is_known(missing), observed)
        self._rest, self._held = [samples[complete:]], len(samples) - complete
        self._next_stop += complete
        before = SECONDS - 1
        self._points, self._missing = points[-before * SECOND :], missing[-before:]
        self._mean, self._greatest = mean[-before:], greatest[-before:]
        if not windows:
            return list(observed)
        items: list[TimedItem] = []
        for item in observed:
            items.append(item)
            if isinstance(item, Hop):
                items += windows.get(item.stop, ())
        return items

    def _bridge(self, x: FloatArray, complete: int) -> tuple[FloatArray, FloatArray]:
        """Replace missing samples by the last known value, where that is recent.

        Returns
        -------
        ndarray, shape as `x`
            The samples.
        ndarray, shape (seconds, leads)
            How many were missing in each second.
        """
        if all_known(x):
            self._last, self._age = x[complete - 1], np.zeros(self._leads, np.int64)
            return x, np.zeros((complete // ANALYSIS_RATE_HZ, self._leads))
        missing = np.isnan(x)
        at = np.where(missing, -1, np.arange(len(x))[:, None])
        np.maximum.accumulate(at, axis=0, out=at)
        before = at < 0  # the value is from before these samples
        age = np.where(
            before, np.arange(1, len(x) + 1)[:, None] + self._age, np.arange(len(x))[:, None] - at
        )
        value = np.where(before, self._last, np.take_along_axis(x, np.maximum(at, 0), axis=0))
        known = np.where(missing & (age <= BRIDGED), value, x)
        self._last, self._age = value[complete - 1], age[complete - 1]
        counted = missing[:complete].reshape(-1, ANALYSIS_RATE_HZ, self._leads).sum(axis=1)
        return known, counted.astype(float)

    def _describe(
        self, points: FloatArray, suspect: NDArray[np.bool_], observed: list[Observation]
    ) -> dict[int, list[Window]]:
        """Describe the suspect windows of all leads, by their end."""
        if not np.logical_or.reduce(suspect, axis=None):
            return {}
        chosen = [
            (hop, at, lead)
            for hop in observed
            if isinstance(hop, Hop)
            and (at := (hop.stop - self._next_stop) // ANALYSIS_RATE_HZ) >= 0
            and hop.stop % ANALYSIS_RATE_HZ == 0
            for lead in range(self._leads)
            if suspect[at, lead]
        ]
        if not chosen:
            return {}
        cut = [points[at * SECOND : at * SECOND + POINTS, lead] for _, at, lead in chosen]
        found = describe(np.array(cut))
        windows: dict[int, list[Window]] = {}
        rows = zip(found.shapes, found.features, found.levels_mv.tolist(), strict=True)
        for (hop, _, lead), judged, (shape, measures, level_mv) in zip(
            chosen, found.judged.tolist(), rows, strict=True
        ):
            if judged:
                window = Window(hop.stop, lead, level_mv, shape, measures, lead == hop.used)
                windows.setdefault(hop.stop, []).append(window)
        return windows


def _is_known(missing: FloatArray) -> NDArray[np.bool_]:
    """Return for every four seconds in a row if enough of their samples are known."""
    last = len(missing) - SECONDS + 1
    count = sum((missing[i : i + last] for i in range(1, SECONDS)), missing[:last])
    return np.asarray(count <= MISSING_SHARE * SECONDS * ANALYSIS_RATE_HZ)

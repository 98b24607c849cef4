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

Latency: none beyond the second with which a window ends; its last point is 28 ms old.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.conditioning.condition import Conditioned
from tocsin_dsp.conditioning.quality import ABSURD_MV, Hop
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.exact import COEFFICIENT_STEP, on_coefficient_grid, rounded
from tocsin_dsp.leads.leads import Observation
from tocsin_dsp.signal import FloatArray

STEP = 5  # analysis samples per point
SECOND = ANALYSIS_RATE_HZ // STEP  # points per second
SECONDS = 4  # length of a window
POINTS = SECONDS * SECOND  # in a window
TAPS = 3 * STEP  # analysis samples in the decimation filter
LEAD_IN = TAPS - STEP  # analysis samples before a second that its first point depends on
KERNEL = on_coefficient_grid(np.hanning(TAPS + 2)[1:-1] / np.hanning(TAPS + 2).sum(), total=1.0)
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
    """Four seconds of one lead that may be fibrillation; `decided` is the index after them."""

    decided: int
    lead: int
    level_mv: float
    shape: FloatArray
    features: FloatArray


TimedItem: TypeAlias = "Observation | Window"


def decimate(x: FloatArray) -> FloatArray:
    """Low-pass and keep every fifth sample: (5 m + 10, leads) on the grid to (m, leads)."""
    frames = x.reshape(-1, STEP, x.shape[1]).transpose(0, 2, 1) @ KERNEL.reshape(3, STEP).T
    return rounded(frames[:-2, :, 0] + frames[1:-1, :, 1] + frames[2:, :, 2])


def steepness(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean and the greatest step within each second of (50 m, leads): (m, leads) each.

    Steps from one second to the next are left out.
    """
    seconds = points.reshape(len(points) // SECOND, SECOND, points.shape[1])
    steps = np.abs(np.diff(seconds, axis=1))
    return steps.sum(axis=1) / (SECOND - 1), steps.max(axis=1)


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
    """Describe the suspect windows of the lead in use, one every second.

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
        self._mean = self._greatest = np.full((before, self._leads), np.nan)

    def push(self, piece: Conditioned, observed: list[Observation]) -> list[TimedItem]:
        """Return the same observations, and after each second its window where it is suspect."""
        if piece.restarted:
            self.skip_to(piece.start)
        self._rest.append(piece.samples)
        self._held += len(piece.samples)
        seconds = (self._held - LEAD_IN) // ANALYSIS_RATE_HZ
        if seconds <= 0:
            return list(observed)
        samples = np.concatenate(self._rest)
        complete = seconds * ANALYSIS_RATE_HZ
        points = np.concatenate((self._points, decimate(samples[: complete + LEAD_IN])))
        mean, greatest = steepness(points[-seconds * SECOND :])
        mean = np.concatenate((self._mean, mean))
        greatest = np.concatenate((self._greatest, greatest))
        windows = self._describe(points, is_suspect(mean, greatest), observed)
        self._rest, self._held = [samples[complete:]], len(samples) - complete
        self._next_stop += complete
        before = SECONDS - 1
        self._points = points[-before * SECOND :]
        self._mean, self._greatest = mean[-before:], greatest[-before:]
        if not windows:
            return list(observed)
        items: list[TimedItem] = []
        for item in observed:
            items.append(item)
            if isinstance(item, Hop) and item.stop in windows:
                items.append(windows[item.stop])
        return items

    def _describe(
        self, points: FloatArray, suspect: NDArray[np.bool_], observed: list[Observation]
    ) -> dict[int, Window]:
        """Describe the suspect windows of the leads in use, by their end."""
        if not suspect.any():
            return {}
        chosen = [
            (hop.stop, at, hop.used)
            for hop in observed
            if isinstance(hop, Hop)
            and (at := (hop.stop - self._next_stop) // ANALYSIS_RATE_HZ) >= 0
            and hop.stop % ANALYSIS_RATE_HZ == 0
            and suspect[at, hop.used]
        ]
        if not chosen:
            return {}
        cut = [points[at * SECOND : at * SECOND + POINTS, lead] for _, at, lead in chosen]
        shapes, features, levels_mv, judged = describe(np.array(cut))
        return {
            stop: Window(stop, lead, level_mv, shape, measures)
            for (stop, _, lead), shape, measures, level_mv, ok in zip(
                chosen, shapes, features, levels_mv.tolist(), judged.tolist(), strict=True
            )
            if ok
        }

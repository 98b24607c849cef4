"""Wiring mistakes in the first seconds of an ECG: electrodes, gain, hum, and what they look like.

A finding says what to look at; it is no diagnosis. How often each is right, and how often a right
lead is called wrong, is measured by `tocsin_agent.lab.studies.wiring` (docs/sources.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ, Resampler
from tocsin_dsp.detection.qrs import LeadDetector
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.signal import FloatArray, StreamSpec

LEAST_MV, MOST_MV = 0.15, 6.0
"""Height of the QRS: less in every lead, or more in one, is a wrong gain."""
_OPEN_MV = 0.05  # an open input shows less
_SPIKES = 10.0  # height of an ECG, of its quartiles; noise has 4.3
_LEAST_BEATS = 4
_BEFORE_S, _AFTER_S = 0.3, 0.42  # of a typical beat
_UPRIGHT = frozenset({"I", "II", "V5", "V6", "MLII"})  # leads in which most beats point upwards
# Of QRS, P and T, in folds of the records of ludb: 2 % of its right leads are below the limit.
_SIGNS, _INVERTED = (2.2, 1.3, 1.5), -0.87
_ARMS = -0.43  # correlation of leads I and V6 below which the arms are swapped, in the same folds
EINTHOVEN = 0.2
"""How far II may be from I + III, of II."""
_LIMB = ("I", "II", "III")
MAINS_HZ = (50.0, 60.0)
"""The frequencies of mains."""
_LINE_SHARE = 0.5  # of the power above 5 Hz, where hum is stronger than the ECG


class Mistake(NamedTuple):
    """A mistake: its short name (`inverted`, `arms`, `gain`, `hum`, ...), the lead, and words."""

    what: str
    lead: str
    text: str


class Beat(NamedTuple):
    """The typical beat of a lead.

    `samples` (mV) begin 0.3 s before the R peak; `up_mv` and `down_mv` are the extremes of the QRS
    from the level before it, `p` and `t` the heights of P and T wave relative to the QRS.
    """

    samples: FloatArray
    up_mv: float
    down_mv: float
    p: float
    t: float

    @property
    def height_mv(self) -> float:
        """Peak to peak of the QRS."""
        return self.up_mv + self.down_mv

    @property
    def upright(self) -> float:
        """How upright the lead is: positive for most right leads of `_UPRIGHT`."""
        net = (self.up_mv - self.down_mv) / max(self.height_mv, 1e-9)
        p, t = max(min(self.p, 0.1), -0.1) * 10.0, max(min(self.t, 0.3), -0.3) / 0.3
        return float(np.dot(_SIGNS, (net, p, t)))


def canonical(lead: str) -> str:
    """Return a lead's name as electrocardiographers write it: `lead ii` is `II`."""
    return lead.upper().removeprefix("LEAD ").strip()


def mistakes(spec: StreamSpec, samples_mv: FloatArray) -> list[Mistake]:
    """Return the mistakes that a stretch of an ECG shows.

    Parameters
    ----------
    spec : StreamSpec
        Leads and rate.
    samples_mv : ndarray of float64, shape (n, leads)
        Ten seconds or more.
    """
    found: list[Mistake] = []
    beats: dict[str, Beat] = {}
    filled: dict[str, FloatArray] = {}
    for column, lead in enumerate(spec.leads):
        values = samples_mv[:, column]
        dead = unplugged(lead, values, spec)
        if dead is not None:
            found.append(dead)
            continue
        filled[canonical(lead)] = values = np.where(
            np.isfinite(values), values, float(np.nanmedian(values))
        )
        hum = line_of(values, spec.rate_hz)
        if hum is not None:
            found.append(Mistake("hum", lead, hum))
        elif (beat := typical_beat(values, spec.rate_hz)) is not None:
            beats[lead] = beat
    return [*found, *_gain(spec, beats), *polarity(beats), *_einthoven(filled)]


def polarity(beats: Mapping[str, Beat]) -> list[Mistake]:
    """Return the leads that are inverted; lead I as swapped arms where V6 shows that."""
    arms = list(_arms(beats))
    return arms or list(_inverted(beats))


def unplugged(lead: str, values: FloatArray, spec: StreamSpec) -> Mistake | None:
    """Return that a lead carries nothing: no samples, a flat line, noise of an open input."""
    present = values[np.isfinite(values)]
    if len(present) < max(spec.rate_hz, 0.5 * len(values)):
        return Mistake("unplugged", lead, "has no samples: is the electrode plugged in?")
    if np.ptp(np.quantile(present, (0.01, 0.99))) == 0.0:
        return Mistake("unplugged", lead, "is flat: is the electrode plugged in?")
    if spec.range_mv is not None:
        low, high = spec.range_mv
        if float(np.mean((present <= low) | (present >= high))) > 0.5:
            return Mistake("unplugged", lead, "is at the end of the converter's range")
    height_mv = usual_height_mv(present, spec.rate_hz)
    if spec.calibrated and height_mv < _OPEN_MV and not has_spikes(present, spec.rate_hz):
        text = "shows only the noise of an open input: is the electrode connected?"
        return Mistake("unplugged", lead, text)
    return None


def height_mv(samples_mv: FloatArray, rate_hz: float) -> float:
    """Return the height of the ECG, peak to peak, without offset and wander; NaN if none."""
    present = samples_mv[np.isfinite(samples_mv)]
    if len(present) < rate_hz:
        return float("nan")
    low, high = np.quantile(_steep(present, rate_hz), [0.002, 0.998])
    return float(high - low)


def usual_height_mv(samples_mv: FloatArray, rate_hz: float) -> float:
    """Return the median height of windows of 2 s: an electrode that moves is in few of them."""
    rows = round(2.0 * rate_hz)
    windows = [
        samples_mv[at : at + rows] for at in range(0, max(len(samples_mv) - rows, 0) + 1, rows)
    ]
    heights = [height_mv(window, rate_hz) for window in windows]
    known = [height for height in heights if height == height]  # noqa: PLR0124 - not NaN
    return float(np.median(known)) if known else float("nan")


def _steep(values: FloatArray, rate_hz: float) -> FloatArray:
    """Subtract a moving mean of 0.4 s."""
    rows = max(3, round(0.4 * rate_hz))
    padded = np.pad(values, (rows // 2, rows - rows // 2), mode="edge")
    total = np.concatenate([[0.0], np.cumsum(padded)])
    means = (total[rows:] - total[:-rows]) / rows
    steep: FloatArray = values - means[: len(values)]
    return steep


def has_spikes(values: FloatArray, rate_hz: float) -> bool:
    """Tell an ECG, which is narrow peaks beside rest, from the noise of an open input.

    At 120/min and more there is little rest, but a QRS is still steeper than all else: so the
    differences over 20 ms are looked at, too.
    """
    lag = max(1, round(0.02 * rate_hz))
    for shown in (_steep(values, rate_hz), values[lag:] - values[:-lag]):
        low, q25, q75, high = np.quantile(shown, [0.002, 0.25, 0.75, 0.998])
        if high - low > _SPIKES * (q75 - q25):
            return True
    return False


def typical_beat(values: FloatArray, rate_hz: float) -> Beat | None:
    """Return the median beat of a lead without missing samples; None with less than four beats."""
    before, after = round(_BEFORE_S * rate_hz), round(_AFTER_S * rate_hz)
    found = find_beats(values, rate_hz)
    whole = [at for at in found if before <= at < len(values) - after]
    if len(whole) < _LEAST_BEATS:
        return None
    windows = np.stack([values[at - before : at + after] for at in whole])
    shape: FloatArray = np.median(windows, axis=0)

    def part(begin_s: float, stop_s: float) -> FloatArray:
        return shape[before + round(begin_s * rate_hz) : before + round(stop_s * rate_hz)]

    level = float(np.median(part(-0.08, -0.05)))
    qrs = part(-0.06, 0.06)
    up, down = float(qrs.max()) - level, level - float(qrs.min())
    height = max(up + down, 1e-9)
    return Beat(
        shape, up, down, _bump(part(-0.24, -0.08)) / height, _bump(part(0.14, 0.40)) / height
    )


def find_beats(values: FloatArray, rate_hz: float) -> list[int]:
    """Return where beats are in one lead, whatever its gain, as indices at its own rate."""
    resampler, detector = Resampler(rate_hz, 1), LeadDetector()
    low, high = np.percentile(values, (0.5, 99.5))
    scaled = values[:, None] * (1.5 / max(float(high - low), 1e-9))
    found = [beat.r_index for beat in detector.push(resampler.push(on_sample_grid(scaled))[:, 0])]
    return [round(at * rate_hz / ANALYSIS_RATE_HZ) for at in found]


def _bump(values: FloatArray) -> float:
    """Return the largest deviation from the line between both ends."""
    ends = max(1, len(values) // 8)
    line = np.linspace(np.median(values[:ends]), np.median(values[-ends:]), len(values))
    above = values - line
    return float(above[np.argmax(np.abs(above))])


def _gain(spec: StreamSpec, beats: Mapping[str, Beat]) -> Iterator[Mistake]:
    """Find QRS complexes that are too large in a lead, or too small in all of them."""
    if not spec.calibrated or not beats:
        return
    heights = {lead: beat.height_mv for lead, beat in beats.items()}
    for lead, height in heights.items():
        if height > MOST_MV:
            yield Mistake("gain", lead, f"QRS of {height:.3g} mV: the gain is too large")
    if max(heights.values()) < LEAST_MV:
        for lead, height in heights.items():
            yield Mistake("gain", lead, f"QRS of {height:.3g} mV: the gain is too small")


def _inverted(beats: Mapping[str, Beat]) -> Iterator[Mistake]:
    for lead, beat in beats.items():
        if canonical(lead) in _UPRIGHT and beat.upright < _INVERTED:
            arms = ", or the arm electrodes swapped" if canonical(lead) == "I" else ""
            size = f"QRS {beat.up_mv:.2g} mV up, {beat.down_mv:.2g} mV down"
            yield Mistake("inverted", lead, f"points downwards ({size}): it may be inverted{arms}")


def _arms(beats: Mapping[str, Beat]) -> Iterator[Mistake]:
    """Find swapped arm electrodes: lead I then mirrors V6, which the arms hardly move."""
    named = {canonical(lead): lead for lead in beats}
    if {"I", "V6"} <= named.keys():
        one, six = beats[named["I"]], beats[named["V6"]]
        likeness = float(np.corrcoef(one.samples, six.samples)[0, 1])
        if likeness < _ARMS and one.upright < six.upright:  # else V6 is inverted
            text = (
                f"mirrors lead V6 (correlation {likeness:.2f}): the arm electrodes may be swapped"
            )
            yield Mistake("arms", named["I"], text)


def _einthoven(samples: Mapping[str, FloatArray]) -> Iterator[Mistake]:
    """Hold the limb leads to Einthoven's law: II is I + III at every instant."""
    fit = einthoven(samples)
    if fit is not None and fit.guess:
        yield Mistake("limb", "II", f"is not I + III: {fit.guess}")


class Einthoven(NamedTuple):
    """How far II is from I + III, of II, and the mistake that explains it; empty for none.

    Without such a mistake the leads were not sampled, or not filtered, as one: in ludb, whose
    leads are right, the median misfit is 0.5.
    """

    misfit: float
    guess: str


def einthoven(samples: Mapping[str, FloatArray]) -> Einthoven | None:
    """Hold leads I, II and III (mV, of one length) to Einthoven's law; None without them."""
    if not all(lead in samples for lead in _LIMB):
        return None
    one, two, three = (samples[lead] - np.median(samples[lead]) for lead in _LIMB)
    candidates = {
        "": (one, two, three),
        "I and II are swapped": (two, one, three),
        "II and III are swapped": (one, three, two),
        "I is inverted": (-one, two, three),
        "II is inverted": (one, -two, three),
        "III is inverted": (one, two, -three),
    }

    def misfit(leads: tuple[FloatArray, FloatArray, FloatArray]) -> float:
        a, b, c = leads
        return float(np.std(b - a - c)) / max(float(np.std(b)), 1e-9)

    fits = {name: misfit(leads) for name, leads in candidates.items()}
    best = min(fits, key=lambda name: fits[name])
    explained = fits[""] > EINTHOVEN >= fits[best]
    return Einthoven(fits[""], f"probably {best}" if explained else "")


def line_of(values: FloatArray, rate_hz: float) -> str | None:
    """Return what a narrow line in the spectrum means that is stronger than the ECG.

    One that is not at 50 or 60 Hz is hum of a recording whose rate is wrong, if it would be at one
    of them at a rate in use.
    """
    power = np.abs(np.fft.rfft((values - values.mean()) * np.hanning(len(values)))) ** 2
    hz = np.fft.rfftfreq(len(values), 1.0 / rate_hz)
    above = power * (hz > 5.0)
    total = float(above.sum())
    if total <= 0:
        return None
    peak_hz = float(hz[int(np.argmax(above))])
    line = float(power[np.abs(hz - peak_hz) < 1.0].sum())
    if line <= _LINE_SHARE * total or peak_hz < 20.0:
        return None
    for mains_hz in MAINS_HZ:
        if abs(peak_hz - mains_hz) < 1.0:
            return f"mains hum of {mains_hz:.0f} Hz is stronger than the ECG: check the electrodes"
    rates = [f"{rate_hz * mains_hz / peak_hz:.0f} Hz" for mains_hz in MAINS_HZ]
    return (
        f"a narrow line at {peak_hz:.1f} Hz is stronger than the ECG: mains hum, if the rate is "
        f"{' or '.join(rates)} and not {rate_hz:g} Hz"
    )


def hum_mv(values: FloatArray, at_hz: float, rate_hz: float) -> float:
    """Return the amplitude of a line of the spectrum in mV, peak to peak; 0 if there is none."""
    if at_hz >= rate_hz / 2:
        return 0.0
    window = np.hanning(len(values))
    spectrum = np.abs(np.fft.rfft((values - values.mean()) * window)) / window.sum() * 2.0
    hz = np.fft.rfftfreq(len(values), 1.0 / rate_hz)
    near = np.abs(hz - at_hz) <= 0.6
    around = (np.abs(hz - at_hz) <= 4.0) & (np.abs(hz - at_hz) > 1.5)
    if not near.any() or not around.any():
        return 0.0
    line = float(spectrum[near].max() - 2.0 * np.median(spectrum[around]))
    return 2.0 * line if math.isfinite(line) and line > 0 else 0.0

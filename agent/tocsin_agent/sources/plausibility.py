"""Is this an ECG at all? A look at the first seconds: amplitude, offset, spectrum, and each lead.

It names the mistakes that people make with units, gains and wires. It changes nothing: the monitor
reads the same samples whatever is found here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tocsin_agent.errors import SourceError
from tocsin_agent.sources.base import DeviceEvent, EndOfStream, Source
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

FIRST_S = 10.0
_LARGEST_MV, _SMALLEST_MV = 12.0, 0.05  # peak to peak, of what an ECG has beside its wander
_SPIKES = 10.0  # an ECG, of its quartiles; noise has 4.3
_UPRIGHT = {"I", "II", "V4", "V5", "V6", "MLII"}  # leads whose QRS points upwards nearly always


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One thing that looks wrong.

    Parameters
    ----------
    code : str
        `implausible_signal` for what no ECG has, else `check_wiring`.
    lead : str
        The lead.
    cause : str
        What was measured, and the likely cause.
    advice : str
        What to do about it in a command.
    """

    code: str
    lead: str
    cause: str
    advice: str = ""

    @property
    def text(self) -> str:
        """Cause and advice in one line."""
        return f"{self.cause}; {self.advice}" if self.advice else self.cause


def first_seconds(source: Source, seconds: float = FIRST_S) -> FloatArray:
    """Read the first seconds of an open source; a gap is left out. May be shorter.

    Returns
    -------
    ndarray of float64, shape (n, leads)
        Millivolts.
    """
    parts: list[FloatArray] = []
    rows = 0
    wanted = round(seconds * source.spec.rate_hz)
    for _ in range(10_000):
        if rows >= wanted:
            break
        try:
            block = source.read(0.5)
        except (EndOfStream, SourceError):
            break
        if block is not None:
            parts.append(block.samples_mv)
            rows += len(block)
    if not parts:
        return np.empty((0, len(source.spec.leads)))
    return np.concatenate(parts)[:wanted]


def suspicions(spec: StreamSpec, samples_mv: FloatArray) -> list[Suspicion]:
    """Return what looks wrong in the first seconds of a stream, by lead.

    Parameters
    ----------
    spec : StreamSpec
        Leads and rate.
    samples_mv : ndarray of float64, shape (n, leads)
        The first seconds; two are the least that says anything.
    """
    found: list[Suspicion] = []
    if len(samples_mv) < 2 * spec.rate_hz:
        return found
    for column, lead in enumerate(spec.leads):
        found += _of_lead(spec, lead, samples_mv[:, column])
    return found


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


class FirstLook:
    """Judges the amplitude of a stream in its first 10 s, and on until every lead is plausible.

    Parameters
    ----------
    spec : StreamSpec
    """

    def __init__(self, spec: StreamSpec) -> None:
        self._spec = spec
        self._parts: list[FloatArray] | None = []  # None once all leads are plausible
        self._rows = 0
        self._raised: set[str] = set()

    def take(self, block: SampleBlock) -> list[DeviceEvent]:
        """Return the alarms that the samples up to this block raise or end."""
        if self._parts is None:
            return []
        self._parts.append(block.samples_mv)
        self._rows += len(block)
        if self._rows < FIRST_S * self._spec.rate_hz:
            return []
        samples, self._parts, self._rows = np.concatenate(self._parts), [], 0
        return self._judge(samples)

    def _judge(self, samples: FloatArray) -> list[DeviceEvent]:
        events, is_plausible = [], True
        for column, lead in enumerate(self._spec.leads):
            values = samples[:, column]
            wrong = _amplitude(self._spec, values)
            if wrong is not None and not _hum(self._spec, lead, values[np.isfinite(values)]):
                is_plausible = False
                height = round(usual_height_mv(values, self._spec.rate_hz), 6)
                measured: dict[str, float | str] = {"lead": lead, "height_mv": height}
                measured["cause"] = wrong[0]
                rule = "an amplitude that no ECG has"
                events.append(DeviceEvent("implausible_signal", rule, lead, measured, over=False))
                self._raised.add(lead)
            elif lead in self._raised:
                self._raised.discard(lead)
                over = "the amplitude is that of an ECG"
                events.append(DeviceEvent("implausible_signal", over, lead, {}, over=True))
        if is_plausible:
            self._parts = None
        return events


def _steep(values: FloatArray, rate_hz: float) -> FloatArray:
    """Subtract a moving mean of 0.4 s."""
    rows = max(3, round(0.4 * rate_hz))
    padded = np.pad(values, (rows // 2, rows - rows // 2), mode="edge")
    total = np.concatenate([[0.0], np.cumsum(padded)])
    means = (total[rows:] - total[:-rows]) / rows
    steep: FloatArray = values - means[: len(values)]
    return steep


def _of_lead(spec: StreamSpec, lead: str, values: FloatArray) -> list[Suspicion]:
    present = values[np.isfinite(values)]
    if len(present) < spec.rate_hz:
        return [Suspicion("check_wiring", lead, "has no samples: is the electrode plugged in?")]
    if np.ptp(present) == 0.0:
        return [Suspicion("check_wiring", lead, "is flat: is the electrode plugged in?")]
    wrong = _amplitude(spec, values)
    if wrong is not None:
        return [Suspicion("implausible_signal", lead, *wrong)]
    if spec.calibrated and usual_height_mv(values, spec.rate_hz) < _SMALLEST_MV:
        text = "shows only the noise of an open input: is the electrode connected?"
        return [Suspicion("check_wiring", lead, text)]
    return [*_hum(spec, lead, present), *_inverted(spec, lead, present)]


def _amplitude(spec: StreamSpec, values: FloatArray) -> tuple[str, str] | None:
    """Return what is wrong with the amplitude of a lead and its likely cause, and the advice."""
    present = values[np.isfinite(values)]
    height = usual_height_mv(values, spec.rate_hz)
    if not spec.calibrated or not height > 0:
        return None
    offset = float(np.median(present))
    whole = bool((present == np.rint(present)).all())
    if height > _LARGEST_MV:
        size = f"{height:.4g} mV from peak to peak, which no ECG has"
        if whole or abs(offset) > 3 * height:
            return (
                f"{size}, around {offset:.4g}: this looks like counts of a converter read as mV",
                f"give --unit counts --gain COUNTS_PER_MV --baseline {offset:.0f}",
            )
        if 0.1 <= height / 1000 <= _LARGEST_MV:
            return f"{size}: this looks like µV read as mV", "give --unit uV"
        return f"{size}: the gain looks too small", "give --unit counts --gain COUNTS_PER_MV"
    if height < _SMALLEST_MV and 0.1 <= height * 1000 <= _LARGEST_MV and _has_spikes(spec, present):
        size = f"{height:.2g} mV from peak to peak, with the shape of an ECG"
        return f"{size}: this looks like V read as mV", "give --unit V"
    return None


def _has_spikes(spec: StreamSpec, present: FloatArray) -> bool:
    """Tell an ECG, which is narrow peaks beside rest, from the noise of an open input."""
    low, q25, q75, high = np.quantile(_steep(present, spec.rate_hz), [0.002, 0.25, 0.75, 0.998])
    return bool(high - low > _SPIKES * (q75 - q25))


def _hum(spec: StreamSpec, lead: str, present: FloatArray) -> list[Suspicion]:
    """Find a line at 50 or 60 Hz that holds more than the ECG above 5 Hz does."""
    power = np.abs(np.fft.rfft(present * np.hanning(len(present)))) ** 2
    hz = np.fft.rfftfreq(len(present), 1.0 / spec.rate_hz)
    total = float(power[hz > 5.0].sum())
    for mains in (50.0, 60.0):
        if mains < spec.rate_hz / 2 and total > 0:
            line = float(power[np.abs(hz - mains) < 1.0].sum())
            if line > 0.5 * total:
                text = f"mains hum of {mains:.0f} Hz is stronger than the ECG: check the electrodes"
                return [Suspicion("check_wiring", lead, text)]
    return []


def _inverted(spec: StreamSpec, lead: str, present: FloatArray) -> list[Suspicion]:
    if lead.upper().removeprefix("LEAD ").strip() not in _UPRIGHT:
        return []
    low, high = np.quantile(_steep(present, spec.rate_hz), [0.002, 0.998])
    if -low < 2.0 * high:
        return []
    arms = " or the arm electrodes swapped" if lead.upper() == "I" else ""
    text = f"the QRS points downwards: the lead may be inverted{arms}"
    return [Suspicion("check_wiring", lead, text)]

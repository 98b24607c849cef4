"""Is this an ECG at all? A look at the first seconds: amplitude, offset, spectrum, and each lead.

It names the mistakes that people make with units, gains and wires. It changes nothing: the monitor
reads the same samples whatever is found here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tocsin_agent.errors import SourceError
from tocsin_agent.sources.base import DeviceEvent, EndOfStream, Source
from tocsin_agent.sources.wiring import (
    has_spikes,
    line_of,
    mistakes,
    typical_beat,
    usual_height_mv,
)
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

FIRST_S = 10.0
FAINT_S = 6.0
"""A faint ECG is named so early: asystole is raised for it after 8 s."""
_FAINT_MV = 0.16  # peak to peak; 0.15 mV is no QRS (IEC 60601-2-27), the rest is noise
_LARGEST_MV, _SMALLEST_MV = 12.0, 0.05  # peak to peak, of what an ECG has beside its wander


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
    faint = _faint(spec, samples_mv)
    for column, lead in enumerate(spec.leads):
        wrong = _amplitude(spec, samples_mv[:, column]) or faint.get(lead)
        if wrong is not None:
            found.append(Suspicion("implausible_signal", lead, *wrong))
    named = {suspicion.lead for suspicion in found}
    return found + [
        Suspicion("check_wiring", mistake.lead, mistake.text)
        for mistake in mistakes(spec, samples_mv)
        if mistake.lead not in named
    ]


class FirstLook:
    """Judges the amplitude of a stream in its first 10 s, and on until every lead is plausible.

    A clean ECG that is too small for its beats to be counted is named after 6 s.

    Parameters
    ----------
    spec : StreamSpec
    """

    def __init__(self, spec: StreamSpec) -> None:
        self._spec = spec
        self._parts: list[FloatArray] | None = []  # None once all leads are plausible
        self._rows = 0
        self._early = True
        self._raised: set[str] = set()

    def take(self, block: SampleBlock) -> list[DeviceEvent]:
        """Return the alarms that the samples up to this block raise or end."""
        if self._parts is None:
            return []
        self._parts.append(block.samples_mv)
        self._rows += len(block)
        if self._rows >= FIRST_S * self._spec.rate_hz:
            self._early = False
            samples, self._parts, self._rows = np.concatenate(self._parts), [], 0
            return self._judge(samples)
        if self._early and self._rows >= FAINT_S * self._spec.rate_hz:
            self._early = False
            return self._judge_faint(np.concatenate(self._parts))
        return []

    def _judge_faint(self, samples: FloatArray) -> list[DeviceEvent]:
        events = []
        for lead, faint in _faint(self._spec, samples).items():
            values = samples[:, self._spec.leads.index(lead)]
            cause, _ = _amplitude(self._spec, values) or faint
            events.append(self._raise(lead, values, cause))
        return events

    def _judge(self, samples: FloatArray) -> list[DeviceEvent]:
        events, is_plausible = [], True
        faint = _faint(self._spec, samples)
        for column, lead in enumerate(self._spec.leads):
            values = samples[:, column]
            wrong = _amplitude(self._spec, values) or faint.get(lead)
            if wrong is not None and not _is_hum(self._spec, values):
                is_plausible = False
                events.append(self._raise(lead, values, wrong[0]))
            elif lead in self._raised:
                self._raised.discard(lead)
                over = "the amplitude is that of an ECG"
                events.append(DeviceEvent("implausible_signal", over, lead, {}, over=True))
        if is_plausible:
            self._parts = None
        return events

    def _raise(self, lead: str, values: FloatArray, cause: str) -> DeviceEvent:
        self._raised.add(lead)
        height = round(usual_height_mv(values, self._spec.rate_hz), 6)
        measured: dict[str, float | str] = {"lead": lead, "height_mv": height, "cause": cause}
        rule = "an amplitude that no ECG has"
        return DeviceEvent("implausible_signal", rule, lead, measured, over=False)


def _amplitude(spec: StreamSpec, values: FloatArray) -> tuple[str, str] | None:
    """Return what is wrong with the amplitude of a lead and its likely cause, and the advice."""
    present = values[np.isfinite(values)]
    height = usual_height_mv(values, spec.rate_hz)
    if not spec.calibrated or not height > 0:
        return None
    offset = float(np.median(present))
    whole = bool((present == np.rint(present)).all())
    if height > _LARGEST_MV:
        return _too_large(height, offset, whole=whole)
    if (
        height < _SMALLEST_MV
        and 0.1 <= height * 1000 <= _LARGEST_MV
        and has_spikes(present, spec.rate_hz)
    ):
        size = f"{height:.2g} mV from peak to peak, with the shape of an ECG"
        return f"{size}: this looks like V read as mV", "give --unit V"
    return None


def _too_large(height: float, offset: float, *, whole: bool) -> tuple[str, str]:
    size = f"{height:.4g} mV from peak to peak, which no ECG has"
    counts = f"--unit counts --gain COUNTS_PER_MV --baseline {offset:.0f}"
    may_be_uv = 0.1 <= height / 1000 <= _LARGEST_MV
    if abs(offset) > 3 * height or (whole and not may_be_uv):
        return (
            f"{size}, around {offset:.4g}: this looks like counts of a converter read as mV",
            f"give {counts}{', or --unit uV' if may_be_uv else ''}",
        )
    if may_be_uv and whole:
        return (
            f"{size}: this looks like µV read as mV, or like counts of a converter",
            f"give --unit uV, or {counts}",
        )
    if may_be_uv:
        return f"{size}: this looks like µV read as mV", "give --unit uV"
    return f"{size}: the gain looks too small", "give --unit counts --gain COUNTS_PER_MV"


def _faint(spec: StreamSpec, samples_mv: FloatArray) -> dict[str, tuple[str, str]]:
    """Return the leads of a clean ECG of which no beat is counted; none if any lead is larger.

    Each with the likely cause and the advice.
    """
    found: dict[str, tuple[str, str]] = {}
    if not spec.calibrated:
        return found
    for column, lead in enumerate(spec.leads):
        values = samples_mv[:, column]
        height = usual_height_mv(values, spec.rate_hz)
        if height >= _FAINT_MV:
            return {}
        if not height > 0:
            continue
        filled = np.where(np.isfinite(values), values, float(np.nanmedian(values)))
        if (
            has_spikes(filled, spec.rate_hz)
            and line_of(filled, spec.rate_hz) is None
            and typical_beat(filled, spec.rate_hz) is not None
        ):
            cause = (
                f"{height:.2g} mV from peak to peak, with the shape of an ECG: up to 0.15 mV no "
                "beat is counted, and asystole may be raised; the gain or the electrodes may be "
                "wrong"
            )
            found[lead] = cause, "check the electrodes, or give --unit counts --gain COUNTS_PER_MV"
    return found


def _is_hum(spec: StreamSpec, values: FloatArray) -> bool:
    """Return whether an open input picks up the mains: its amplitude says nothing of the unit."""
    present = values[np.isfinite(values)]
    return len(present) > spec.rate_hz and line_of(present, spec.rate_hz) is not None

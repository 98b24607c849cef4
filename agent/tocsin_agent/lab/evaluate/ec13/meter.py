"""The agent as a heart rate meter: one lead in, the displayed rate, beats and alarms out."""

from __future__ import annotations

from typing import NamedTuple

from tocsin_agent.lab.evaluate.ec13.waveforms import RATE_HZ, converted
from tocsin_agent.messages.alert import Phase
from tocsin_agent.monitor import PatientMonitor
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec
from tocsin_models import Models

SHOWN_EVERY_S = 0.5
SETTLED_S = 20.0
"""The standards judge the displayed rate after so long."""


class Reading(NamedTuple):
    """What the meter made of a waveform; times in seconds of the stream.

    `rates` are the displayed rates, None where none is displayed; `beats` the R peaks; `alarms` the
    code of each alarm with the time at which it was raised.
    """

    rates: tuple[tuple[float, float | None], ...]
    beats: tuple[float, ...]
    alarms: tuple[tuple[str, float], ...]

    def settled(self) -> list[float | None]:
        """Return the rates displayed once the meter has settled."""
        return [bpm for at, bpm in self.rates if at >= SETTLED_S]

    def first(self, codes: frozenset[str], after_s: float) -> tuple[str, float] | None:
        """Return the first of these alarms after a time, None if there is none."""
        return next((a for a in self.alarms if a[0] in codes and a[1] >= after_s), None)

    def settles(self, low_bpm: float, high_bpm: float, after_s: float) -> float | None:
        """Return when the displayed rate enters a range and stays there, None if never."""
        entered = None
        for at, bpm in self.rates:
            if at < after_s:
                continue
            inside = bpm is not None and low_bpm <= bpm <= high_bpm
            entered = (entered or at) if inside else None
        return entered


def read(x: FloatArray, models: Models, limits: Limits | None = None) -> Reading:
    """Run the monitor over one lead, shape (n,), mV at `RATE_HZ`."""
    spec = StreamSpec("ec13", RATE_HZ, ("II",), synthetic=True)
    monitor = PatientMonitor(spec, limits, models)
    rates, beats, alarms = [], [], []
    rows = round(SHOWN_EVERY_S * RATE_HZ)
    for start in range(0, len(x), rows):
        piece = converted(x[start : start + rows])[:, None]
        report = monitor.push(SampleBlock(spec, start, piece))
        beats += [beat.r_index / RATE_HZ for beat in report.beats]
        alarms += [
            (alert.code, alert.detected_index / RATE_HZ)
            for alert in report.alerts
            if alert.phase is Phase.ONSET
        ]
        rates.append(((start + len(piece)) / RATE_HZ, monitor.vitals().heart_rate_bpm))
    return Reading(tuple(rates), tuple(beats), tuple(alarms))

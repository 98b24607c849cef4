"""How far detected beats are trusted: they may be noise.

Noise does not repeat itself: a heart's beats resemble the beat before, or where they alternate the
one before that; peaks of electrode motion do not (agreement of beats, as in the template index of
Orphanidou et al., IEEE J. Biomed. Health Inform. 19:832, 2015). Agreement alone would give low
trust to multiform ectopy in a clean signal, so trust is low only where the lead is noisy too
(`tocsin_dsp.conditioning.quality`). Fibrillation is neither quiet nor of one shape: a lead whose
waveform looks like fibrillation is trusted, since a bad signal must not suppress a condition that
is still visible. A lead that is not quiet, whose beats do not agree and whose waveform is no
fibrillation shows only noise.

All are measured over several seconds, so that the first beats of a tachycardia in a clean signal
are judged by the quiet signal before them. At the start of a stream a few beats are assumed to
agree, except in a noisy lead: there a beat is labelled once two beats before it agreed.

Latency: none beyond the beat's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from enum import IntEnum
from typing import NamedTuple

from tocsin_dsp.beats.beats import BeatView
from tocsin_dsp.conditioning.quality import HOP
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.signal import FloatArray

QUALITY_OVER = 5 * ANALYSIS_RATE_HZ // HOP
"""Half seconds over which the quality is averaged."""
AGREEMENT_OVER = 16
"""Beats over which the agreement is averaged."""
ASSUMED_AGREED = 4
"""Beats before the first that are assumed to agree, except in a noisy lead."""
COMPARED = 2
"""Beats that must agree in a noisy lead: one may do so by chance."""

# Chosen on DS1 of mitdb, clean and with noise mixed in, and on half of vfdb.
QUIET = 0.75
"""Mean quality from which a lead is trusted."""
NOISY = 0.12
"""Mean quality up to which a beat without trust is noise."""
AGREES = 0.5
"""Mean likeness of beats to the one before, or the second before, from which they are trusted."""
FIBRILLATES = 0.4
"""Probability of fibrillation in the latest waveform from which a lead is trusted."""
FIBRILLATION_LASTS = 2 * ANALYSIS_RATE_HZ
"""Analysis samples for which it is trusted after that."""


class Trust(IntEnum):
    """How far a beat is trusted."""

    NOISE = 0  # it has no label
    LOW = 1
    FULL = 2


class BeatTrust(NamedTuple):
    """How far a beat is trusted, and the greatest confidence of its label.

    The confidence is limited to the greatest of the quality of the lead, the agreement of its beats
    and the probability of fibrillation (each 0 to 1).
    """

    trust: Trust
    max_confidence: float


class LeadTrust:
    """Judge how far each beat of a lead is trusted."""

    def __init__(self) -> None:
        self._quality: deque[float] = deque(maxlen=QUALITY_OVER)
        self._likeness: list[deque[float]] = [deque(maxlen=AGREEMENT_OVER) for _ in range(2)]
        self._before: deque[tuple[FloatArray, float]] = deque(maxlen=2)  # shapes and their powers
        self._fibrillates_until, self._fibrillates = 0, 0.0

    def observe_quality(self, quality: float) -> None:
        """Add the quality of a half second, in order of decision with the beats."""
        self._quality.append(quality)

    def observe_waveform(self, decided: int, probability: float) -> None:
        """Add the probability of fibrillation in the latest waveform, in order of decision."""
        if probability >= FIBRILLATES:
            self._fibrillates_until = decided + FIBRILLATION_LASTS
            self._fibrillates = probability

    def judge(self, view: BeatView) -> BeatTrust:
        """Judge the next beat."""
        shape = view.shapes[0]
        power = float(shape.dot(shape))
        for likeness, (other, its_power) in zip(self._likeness, self._before, strict=False):
            product = power * its_power
            likeness.append(float(shape.dot(other)) / product**0.5 if product > 0 else 0.0)
        self._before.appendleft((shape, power))
        quality = _mean(self._quality) if self._quality else 1.0  # no half second is complete yet
        noisy = quality <= NOISY
        agreement = max(_agreement(likeness, noisy=noisy) for likeness in self._likeness)
        fibrillates = self._fibrillates if view.decided <= self._fibrillates_until else 0.0
        max_confidence = min(round(max(quality, agreement, fibrillates), 3), 1.0)
        if quality >= QUIET or agreement >= AGREES or fibrillates >= FIBRILLATES:
            return BeatTrust(Trust.FULL, max_confidence)
        return BeatTrust(Trust.NOISE if noisy else Trust.LOW, max_confidence)


def _agreement(likeness: deque[float], *, noisy: bool) -> float:
    if noisy:
        return sum(likeness) / max(len(likeness), COMPARED)
    assumed = min(ASSUMED_AGREED, AGREEMENT_OVER - len(likeness))
    return _mean([*likeness, *[1.0] * assumed])


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values) if values else 0.0

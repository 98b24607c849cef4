"""Whether what was detected in a lead may be noise.

Noise does not repeat itself: a heart's beats resemble the beat before, or where they alternate the
one before that; crests of electrode motion do not (agreement of beats, as in the template index of
Orphanidou et al., IEEE J. Biomed. Health Inform. 19:832, 2015). That alone would doubt multiform
ectopy in a clear signal, so a lead is doubted only where it is also restless
(`tocsin_dsp.conditioning.quality`). Fibrillation has neither rest nor one shape: a lead whose waveform looks
like it is believed, since a bad signal must not silence a condition that can still be seen. And
where nothing rests, nothing repeats and nothing fibrillates there is only noise.

All are taken over several seconds, so that the first beats of a tachycardia in a clear signal are
judged by the calm before them. Where nothing came before, a few beats are taken to have agreed, but
not in a lead without rest: there a beat has a name once two before it were alike.

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

QUALITY_OVER = 5 * ANALYSIS_RATE_HZ // HOP  # half seconds
AGREEMENT_OVER = 16  # beats
AGREED_BEFORE = 4  # so many beats before the first are taken to have agreed, where there is rest
COMPARED = 2  # and where there is none, so many beats must have been alike: one may be by chance
# Chosen on DS1 of mitdb, clean and with noise mixed in, and on half of vfdb.
RESTS = 0.75  # mean quality above which a lead is believed,
RESTLESS = 0.12  # and below which what is doubted is no heart at all
AGREES = 0.5  # mean likeness of a beat to the one before, or to the second before, likewise
FIBRILLATES = 0.4  # probability of the latest waveform from which on a lead is believed,
STILL = 2 * ANALYSIS_RATE_HZ  # and for how long thereafter


class Trust(IntEnum):
    """What a beat may be."""

    NOISE = 0  # no beat that anyone could name
    DOUBTED = 1
    BELIEVED = 2


class Judged(NamedTuple):
    """How far a beat is believed, and how certain a label of it is at most.

    That is the best of what speaks for a heart: the quality of the lead, how the beats agree, and
    how much the waveform looks like fibrillation (each 0 to 1).
    """

    trust: Trust
    max_confidence: float


class LeadTrust:
    """Tell of each beat of a lead how far it is believed."""

    def __init__(self) -> None:
        self._quality: deque[float] = deque(maxlen=QUALITY_OVER)
        self._likeness: list[deque[float]] = [deque(maxlen=AGREEMENT_OVER) for _ in range(2)]
        self._before: deque[tuple[FloatArray, float]] = deque(maxlen=2)  # shapes and their powers
        self._believed_until, self._fibrillates = 0, 0.0

    def hear(self, quality: float) -> None:
        """Take the quality of a half second, in order of decision with the beats."""
        self._quality.append(quality)

    def see(self, decided: int, probability: float) -> None:
        """Take how much the latest waveform looks like fibrillation, likewise in order."""
        if probability >= FIBRILLATES:
            self._believed_until, self._fibrillates = decided + STILL, probability

    def judge(self, view: BeatView) -> Judged:
        """Take a beat, and tell what it may be."""
        shape = view.shapes[0]
        power = float(shape.dot(shape))
        for likeness, (other, its_power) in zip(self._likeness, self._before, strict=False):
            product = power * its_power
            likeness.append(float(shape.dot(other)) / product**0.5 if product > 0 else 0.0)
        self._before.appendleft((shape, power))
        quality = _mean(self._quality) if self._quality else 1.0  # no half second is over yet
        rests = quality > RESTLESS
        agreement = max(_agreement(likeness, rests=rests) for likeness in self._likeness)
        fibrillates = self._fibrillates if view.decided <= self._believed_until else 0.0
        max_confidence = min(round(max(quality, agreement, fibrillates), 3), 1.0)
        if quality >= RESTS or agreement >= AGREES or fibrillates >= FIBRILLATES:
            return Judged(Trust.BELIEVED, max_confidence)
        return Judged(Trust.DOUBTED if rests else Trust.NOISE, max_confidence)


def _agreement(likeness: deque[float], *, rests: bool) -> float:
    if not rests:
        return sum(likeness) / max(len(likeness), COMPARED)
    granted = min(AGREED_BEFORE, AGREEMENT_OVER - len(likeness))
    return _mean([*likeness, *[1.0] * granted])


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values) if values else 0.0

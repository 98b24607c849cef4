"""Whether what was detected in a lead may be noise.

Noise does not repeat itself: a heart's beats resemble the beat before, crests of electrode motion
do not (agreement of beats, as in the template index of Orphanidou et al., IEEE J. Biomed. Health
Inform. 19:832, 2015). That alone would doubt multiform ectopy in a clear signal, so a lead is
doubted only where it is also restless (`tocsin_dsp.quality`). And a lead without any rest is
believed again: fibrillation, flutter and fast tachycardia have none either, and a bad signal must
not silence a condition that can still be seen.

Both are taken over several seconds, so that the first beats of a tachycardia in a clear signal are
judged by the calm before them.

Latency: none beyond the beat's own.
"""

from __future__ import annotations

from collections import deque

from tocsin_dsp.beats import BeatView
from tocsin_dsp.quality import HOP
from tocsin_dsp.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.signal import FloatArray

QUALITY_OVER = 5 * ANALYSIS_RATE_HZ // HOP  # half seconds
AGREEMENT_OVER = 16  # beats
# Chosen on DS1 of mitdb, clean and with noise mixed in, and on half of vfdb.
RESTS, NO_REST = 0.75, 0.12  # mean quality above which, and below which, a lead is believed
AGREES = 0.5  # mean likeness of a beat to the one before, likewise


class LeadTrust:
    """Tell of each beat of a lead whether it is believed."""

    def __init__(self) -> None:
        self._quality = deque([1.0] * QUALITY_OVER, maxlen=QUALITY_OVER)
        self._likeness = deque([1.0] * AGREEMENT_OVER, maxlen=AGREEMENT_OVER)
        self._last: FloatArray | None = None
        self._last_power = 0.0

    def hear(self, quality: float) -> None:
        """Take the quality of a half second, in order of decision with the beats."""
        self._quality.append(quality)

    def believes(self, view: BeatView) -> bool:
        """Take a beat; return False where it may be noise."""
        shape = view.shapes[0]
        power, last = float(shape.dot(shape)), self._last
        product = power * self._last_power
        alike = float(shape.dot(last)) / product**0.5 if last is not None and product > 0 else 0.0
        self._likeness.append(alike)
        self._last, self._last_power = shape, power
        quality = sum(self._quality) / QUALITY_OVER
        if not NO_REST < quality < RESTS:
            return True
        return sum(self._likeness) / AGREEMENT_OVER >= AGREES

"""A ventricular tachycardia that lasts: its beats stay ventricular, however usual they become.

The classifier compares a beat with what is usual for the patient, and what comes a hundred times
in a row is usual: after some twenty beats a tachycardia of one shape is called normal while it goes
on. So once five ventricular beats in a row come at more than 100 a minute and are wide, or quite
unlike what was usual before them, what is like them stays ventricular while it comes as fast. What
is unlike them, or more like what was usual, is called what the classifier calls it: a capture beat
amid the tachycardia, and the sinus rhythm after it.

A tachycardia from above the ventricles that is conducted aberrantly stays ventricular as well, if
it was called so to begin with: a wide one is ventricular until the contrary is known (Wellens et
al., Am. J. Med. 64:27, 1978).

Latency: none beyond the beat's own.
"""

from __future__ import annotations

from statistics import fmean, median
from typing import NamedTuple

from tocsin_dsp.beats.beats import CORE
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.leads.leads import LeadBeat
from tocsin_dsp.signal import FloatArray

PROVEN = 5  # ventricular beats in a row that are a tachycardia
SLOWEST_RR = 60 * ANALYSIS_RATE_HZ // 100  # samples between two of them
WIDE_S = 0.12  # they are wide from this QRS on,
UNLIKE = 0.5  # and of another shape than usual below this correlation
ALIKE = 0.9  # a QRS is like theirs from this correlation on
SLOWER = 1.2  # an interval so many times as long as theirs is another rhythm's
LOST = 3  # beats in a row of another shape or rhythm end it
LEARN = 1 / 8  # shape and interval follow its beats so fast


class HeldLabel(NamedTuple):
    """What is known of a beat that goes on with a tachycardia.

    `certainty` is the mean over the beats that proved it, `likeness` (1 the same) the correlation
    of the QRS with what was usual before.
    """

    certainty: float
    likeness: float


class LastingTachycardia:
    """Follow the beats, and tell which go on with a ventricular tachycardia."""

    def __init__(self) -> None:
        self._last_r = 0
        self._end()

    def _end(self) -> None:
        self._first: list[tuple[float, float, float]] = []  # certainty, likeness, width: its proof
        self._lost = 0
        self._rr = 0.0
        self._shapes: dict[int, tuple[FloatArray, FloatArray]] = {}
        # by lead: its QRS, and what was usual before it

    def take(self, beat: LeadBeat, label: str, certainty: float) -> HeldLabel | None:
        """Take a beat with the classifier's answer; tell if it is ventricular all the same."""
        rr, self._last_r = beat.view.r_index - self._last_r, beat.view.r_index
        if not beat.view.readable:
            label = "Q"
        if len(self._first) < PROVEN:
            if self._first or label == "V":  # there is neither at nearly all beats
                self._prove(beat, label, certainty, rr)
            return None
        likeness, alike = self._compare(beat)
        new_lead = beat.lead not in self._shapes
        fast = rr <= min(SLOWER * self._rr, SLOWEST_RR) and beat.view.readable
        if not fast or not (new_lead or alike >= ALIKE > likeness):
            self._lost += 1
            if self._lost >= LOST or rr > 2 * SLOWEST_RR:
                self._end()
            return None
        self._lost = 0
        self._follow(beat, rr)
        if label == "V":
            return None
        return HeldLabel(round(fmean(first[0] for first in self._first), 3), likeness)

    def _prove(self, beat: LeadBeat, label: str, certainty: float, rr: int) -> None:
        """Take a beat where there is no tachycardia yet."""
        if rr > SLOWEST_RR:
            self._end()
        likeness, alike = self._compare(beat)
        if label == "V":
            self._follow(beat, rr)
            self._first.append((certainty, likeness, beat.waves.qrs_s))
            if len(self._first) == PROVEN and not self._is_proof():
                self._end()
        elif label != "Q" or alike < ALIKE:  # the classifier doubts what is fast: that is no end
            self._end()

    def _is_proof(self) -> bool:
        """Tell whether the first beats are wide or of another shape than usual."""
        widths = [width for _, _, width in self._first if width == width]  # noqa: PLR0124 - not NaN
        wide = len(widths) > 0 and median(widths) >= WIDE_S
        return wide or median(likeness for _, likeness, _ in self._first) < UNLIKE

    def _compare(self, beat: LeadBeat) -> tuple[float, float]:
        """Return how like a QRS is to what was usual before, and to the tachycardia's."""
        core, usual = beat.view.shapes[:, CORE]
        shape, usual = self._shapes.get(beat.lead, (core, usual))
        return _likeness(core, usual), _likeness(core, shape)

    def _follow(self, beat: LeadBeat, rr: int) -> None:
        """Let the tachycardia go on by a beat."""
        if self._first:
            self._rr += (rr - self._rr) * (LEARN if self._rr else 1.0)
        core, usual = beat.view.shapes[:, CORE]
        if beat.lead in self._shapes:
            shape = self._shapes[beat.lead][0]
            shape += LEARN * (core - shape)
        else:
            self._shapes[beat.lead] = (core.copy(), usual.copy())


def _likeness(core: FloatArray, other: FloatArray) -> float:
    power = float(core.dot(core)) * float(other.dot(other))
    return float(core.dot(other)) / power**0.5 if power > 0 else 0.0

"""A ventricular tachycardia that lasts: its beats stay V although they become the usual ones.

The classifier compares a beat with the patient's usual beat, and what comes a hundred times in a
row is usual: after about twenty beats it calls a tachycardia of one shape normal. So once
`vt_beats` ventricular beats in a row come faster than `vt_bpm` and are wide, or unlike what was
usual before them, beats like them stay V for as long as they come as fast. A beat unlike them, or
more like what was usual before, keeps the classifier's label: a capture beat, or the sinus rhythm
that follows.

A supraventricular tachycardia with aberrant conduction stays V as well if it was V at first: a wide
one is ventricular until the contrary is known (Wellens et al., Am. J. Med. 64:27, 1978).

Latency: none beyond the beat's own.
"""

from __future__ import annotations

from statistics import fmean, median
from typing import NamedTuple

from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_dsp.beats.beats import CORE
from tocsin_dsp.beats.delineation import Delineated
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.leads.leads import LeadBeat
from tocsin_dsp.signal import FloatArray

WIDE_S = 0.12
"""A QRS is wide from this width on."""
UNLIKE = 0.5
"""Below this correlation a QRS is of another shape than the usual one."""
ALIKE = 0.9
"""From this correlation on a QRS is like those of the tachycardia."""
SLOWER = 1.2
"""An interval so many times as long as the tachycardia's is of another rhythm."""
LOST = 3
"""So many beats in a row of another shape or rhythm end it."""
LEARN = 1 / 8
"""Share by which its shape and interval follow each of its beats."""


class HeldLabel(NamedTuple):
    """What is known of a beat that continues a tachycardia.

    `probability` is the mean of the beats that proved it, `likeness` (1 the same) the
    correlation of the QRS with what was usual before.
    """

    probability: float
    likeness: float


class _Proof(NamedTuple):
    """One of the beats that prove a tachycardia."""

    probability: float
    likeness: float
    delineated: Delineated  # its width is read when there are enough beats


class LastingTachycardia:
    """Follow the beats, and find those that continue a ventricular tachycardia.

    Parameters
    ----------
    limits : Limits
        How many beats, and how fast, are a tachycardia.
    """

    def __init__(self, limits: Limits) -> None:
        self._beats = limits.vt_beats
        self._longest_rr = 60 * ANALYSIS_RATE_HZ // limits.vt_bpm
        self._last_r = 0
        self._end()

    def _end(self) -> None:
        self._proof: list[_Proof] = []
        self._lost = 0
        self._rr = 0.0
        # By lead: the QRS of the tachycardia, and what was usual before it.
        self._shapes: dict[int, tuple[FloatArray, FloatArray]] = {}

    def take(self, beat: LeadBeat, label: str, probability: float) -> HeldLabel | None:
        """Take a beat with the label that it has so far; return why it is V all the same."""
        rr, self._last_r = beat.view.r_index - self._last_r, beat.view.r_index
        if not beat.view.readable:
            label = "Q"
        if len(self._proof) < self._beats:
            if self._proof or label == "V":  # at nearly all beats there is neither
                self._prove(beat, label, probability, rr)
            return None
        likeness, alike = self._compare(beat)
        new_lead = beat.lead not in self._shapes
        fast = rr <= min(SLOWER * self._rr, self._longest_rr) and beat.view.readable
        if not fast or not (new_lead or alike >= ALIKE > likeness):
            self._lost += 1
            if self._lost >= LOST or rr > 2 * self._longest_rr:
                self._end()
            return None
        self._lost = 0
        self._follow(beat, rr)
        if label == "V":
            return None
        return HeldLabel(round(fmean(proof.probability for proof in self._proof), 3), likeness)

    def _prove(self, beat: LeadBeat, label: str, probability: float, rr: int) -> None:
        """Take a beat where there is no tachycardia yet."""
        if rr > self._longest_rr:
            self._end()
        likeness, alike = self._compare(beat)
        if label == "V":
            self._follow(beat, rr)
            self._proof.append(_Proof(probability, likeness, beat.delineated))
            if len(self._proof) == self._beats and not self._is_proved():
                self._end()
        elif label != "Q" or alike < ALIKE:  # Q of the same shape: what is fast is hard to classify
            self._end()

    def _is_proved(self) -> bool:
        """Return whether the first beats are wide or of another shape than usual."""
        widths = [w for p in self._proof if (w := p.delineated.waves.qrs_s) == w]
        wide = len(widths) > 0 and median(widths) >= WIDE_S
        return wide or median(proof.likeness for proof in self._proof) < UNLIKE

    def _compare(self, beat: LeadBeat) -> tuple[float, float]:
        """Return how like a QRS is to what was usual before, and to the tachycardia's."""
        core, usual = beat.view.shapes[:, CORE]
        shape, usual = self._shapes.get(beat.lead, (core, usual))
        return _likeness(core, usual), _likeness(core, shape)

    def _follow(self, beat: LeadBeat, rr: int) -> None:
        """Update the interval and the shape of the tachycardia by a beat."""
        if self._proof:
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

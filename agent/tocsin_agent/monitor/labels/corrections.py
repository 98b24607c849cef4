"""The rules between the answers of the models and the labels; each can be left out by name.

| rule | what it does |
|---|---|
| `narrow` | V that is neither wide nor of another shape than usual is N or S |
| `first_beats` | before a rhythm is known no beat is S, and before a shape is none V by it |
| `low_trust` | noise is Q; any other beat is at most as probable as its lead is trusted |
| `tachycardia` | beats that continue a ventricular tachycardia stay V (`.tachycardia`) |
| `in_fibrillation` | S is N during atrial fibrillation, where no beat can come early |

A beat is early, or of another shape, compared with those before it. A stream that has just begun
has none to compare with: the first peaks may be noise, and the beats after them unlike it. A
ventricular tachycardia at connection stays V, since its beats are like one another.

Frequent atrial ectopy is irregular too and at times shows no P waves. The strict probabilities of
`in_fibrillation` were chosen, by patient, where they cost svdb hardly any of its S beats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tocsin_agent.monitor.labels.classifiers import NO_ANSWER, Answer
from tocsin_agent.monitor.labels.tachycardia import LastingTachycardia
from tocsin_agent.monitor.rhythm.atrial import AtrialFibrillationTracker
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Beat, Irregularity, Waveform
from tocsin_dsp.conditioning.quality import Hop
from tocsin_dsp.leads.leads import LeadBeat
from tocsin_dsp.leads.trust import LeadTrust, Trust
from tocsin_dsp.rhythms.fibrillation import Window
from tocsin_models import LABELS

USUAL = 0.97
"""Likeness to the usual QRS from which on a beat is of the usual shape."""
NARROW_S = 0.12
"""Width below which a QRS is narrow."""
FEWEST_INTERVALS = 8
"""Beats before the first that may be S: as many as the shortest memory of intervals holds."""
FEWEST_SHAPES, UNLIKE = 5, 0.5
"""Beats before the first that is V because its likeness to the usual QRS is below `UNLIKE`."""
AF_LIKELY, AF_CONTINUES, AF_LASTS_S = 0.95, 0.7, 30.0
"""Probabilities of a half minute at which `in_fibrillation` begins and continues, and for how long
the rhythm must have lasted."""
_N, _S, _Q = LABELS.index("N"), LABELS.index("S"), LABELS.index("Q")


class LabelRules(NamedTuple):
    """Which rules apply; False leaves one out, to measure what it is worth."""

    narrow: bool = True
    first_beats: bool = True
    low_trust: bool = True
    tachycardia: bool = True
    in_fibrillation: bool = True


ALL_RULES = LabelRules()


class Corrections:
    """Turn answers into labelled beats; feed it everything in order of decision.

    Parameters
    ----------
    leads : tuple of str
    limits : Limits
        What a ventricular tachycardia is.
    rules : LabelRules
    """

    def __init__(
        self, leads: tuple[str, ...], limits: Limits, rules: LabelRules = ALL_RULES
    ) -> None:
        self._leads, self._rules = leads, rules
        self._trust = [LeadTrust() for _ in leads]
        self._tachycardia = LastingTachycardia(limits)
        self._atrial = AtrialFibrillationTracker(AF_LASTS_S, AF_LIKELY, AF_CONTINUES, AF_LIKELY)
        self._before = 0  # readable beats, counted up to FEWEST_INTERVALS

    def take_hop(self, hop: Hop) -> Hop:
        """Take the quality of a half second: noisy leads are trusted less."""
        for trust, quality in zip(self._trust, hop.values, strict=True):
            trust.observe_quality(quality)
        return hop

    def waveform(self, window: Window, probability: float) -> Waveform:
        """Return a window with its probability: a lead that fibrillates is trusted."""
        if window.used:
            self._trust[window.lead].observe_waveform(window.decided, probability)
        lead = self._leads[window.lead]
        return Waveform(
            window.decided, lead, probability, window.level_mv, window.used, window.lead
        )

    def beat(self, detected: LeadBeat, answer: Answer) -> Beat:
        """Return a labelled beat, before anything is known of the atria."""
        view, rules, scores = detected.view, self._rules, answer.scores
        if rules.narrow:
            answer = _narrow(detected, answer)
        if rules.first_beats:
            answer = self._at_first(detected, answer)
        trust, highest = self._trust[detected.lead].judge(view)
        if rules.low_trust:
            answer = _low_trust(answer, trust, highest)
        label, probability = answer.label, answer.probability
        likeness = view.core_likeness if label in "SV" else math.nan
        held = self._tachycardia.take(detected, label, probability) if rules.tachycardia else None
        if held is not None:
            label, (probability, likeness) = "V", held
        return Beat(
            view.r_index,
            view.decided,
            label,
            probability,
            self._leads[detected.lead],
            detected.delineated,
            trusted=trust is Trust.FULL and not detected.recovered,
            likeness=likeness,
            held=held is not None,
            n_or_s=answer.n_or_s,
            core_likeness=view.core_likeness,
            scores=scores,
        )

    def _at_first(self, detected: LeadBeat, answer: Answer) -> Answer:
        """Return N for S, and Q for V by shape alone, where too little is known to compare with."""
        before = self._before
        if before >= FEWEST_INTERVALS:
            return answer
        self._before += detected.view.readable
        if answer.label == "S":
            return answer._replace(label="N", probability=answer.n_or_s)
        unlike = before < FEWEST_SHAPES and detected.view.core_likeness < UNLIKE
        if answer.label == "V" and unlike:
            return answer._replace(label="Q", probability=round(answer.of_all[_Q], 3))
        return answer

    def take_half_minute(self, window: Irregularity) -> None:
        """Take the probability of atrial fibrillation in a half minute."""
        self._atrial.take(window)

    def in_rhythm(self, beat: Beat) -> Beat:
        """Relabel S as N during atrial fibrillation."""
        if not self._rules.in_fibrillation or beat.label != "S":
            return beat
        if not self._atrial.holds(beat.decided):
            return beat
        return beat._replace(label="N", probability=beat.n_or_s, likeness=math.nan)


def _narrow(detected: LeadBeat, answer: Answer) -> Answer:
    """Return N or S, whichever is more probable, for a narrow V of the usual shape."""
    if answer.label != "V" or not detected.view.core_likeness >= USUAL:
        return answer
    if not detected.waves.qrs_s < NARROW_S:  # or unknown
        return answer
    best = max((_N, _S), key=answer.of_all.__getitem__)
    return answer._replace(label=LABELS[best], probability=round(answer.of_all[best], 3))


def _low_trust(answer: Answer, trust: Trust, highest: float) -> Answer:
    """Return Q for noise, and no higher probability than the trust of the lead."""
    if trust is Trust.NOISE:
        return NO_ANSWER
    if answer.probability <= highest:
        return answer
    return answer._replace(probability=highest)

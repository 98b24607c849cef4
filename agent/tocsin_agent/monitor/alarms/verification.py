"""Verification of ventricular alarms: candidates open early, a model says which are true.

At the end of each half second (hop), after everything that was decided before it, a cheap look at
the evidence says whether a candidate is open. While one is, the beat model is asked about the beats
of every single lead; once enough of them are ventricular in a row, or a window may be fibrillation,
the model `alarms` is asked about the features of `tocsin_dsp.rhythms.evidence`.
A beat's answer does not depend on when it is asked, so that the verdicts depend on the samples and
not on how they are cut into blocks.

The verdicts (`Verdicts`) are read by the rules in `monitor/rhythm/ventricular.py` and
`monitor/rhythm/fibrillation.py`. Where the model is missing or fails, `model_failed` says so and
the rules decide alone.

Latency: up to one hop (0.5 s) after the last beat or window.
"""

from __future__ import annotations

import numpy as np

from tocsin_agent.monitor.labels.classifiers import rounded, ventricular
from tocsin_agent.monitor.rhythm.verdicts import Verdict, Verdicts
from tocsin_agent.monitor.timeline import Beat, Failure, Item, Waveform
from tocsin_dsp.beats.beats import describe
from tocsin_dsp.conditioning.quality import Hop
from tocsin_dsp.rhythms.evidence import FEATURES, AlarmEvidence, Glance, LeadsBeat, PatientBeat
from tocsin_models import Model, Models
from tocsin_models.errors import ModelError

VT_LIKELY = 0.2
"""Probability of a ventricular tachycardia from which the verdict raises the alarm; the model is
trained with heavy weights on short runs, so that it is no share (`docs/decisions/0045`)."""
VT_RUN = 4
"""Ventricular beats in a row of the patient or of any lead, one other among them allowed, that it
asks for."""
VT_LEAST_BPM = 80.0
"""Rate of the last beats from which a run may be a tachycardia: 100/min with one beat of five
missed."""
VT_USUAL = 0.3
"""Mean probability of V of the earlier beats of a lead from which its runs do not count: all of its
beats look ventricular, as in a bundle branch block."""
VT_BY_WAVEFORM = 0.3
"""Probability of fibrillation in a window that stands for the run of beats."""
VF_LIKELY = 0.3
"""Probability of fibrillation from which its alarm may begin."""
VF_POSSIBLE = 0.3
"""Probability of fibrillation in a window that opens a candidate."""
_AT = {name: i for i, name in enumerate(FEATURES)}


def candidate(glance: Glance) -> str:
    """Return what makes a ventricular tachycardia possible, an empty string where nothing does."""
    if glance.labelled >= 2:
        return "two ventricular beats in a row"
    if glance.ventricular >= 2:
        return "two beats that look ventricular"
    if glance.mean5 >= 0.25 or glance.mean3 >= 0.35:
        return "several beats that may be ventricular"
    return "a waveform like fibrillation" if glance.vf_best >= VF_POSSIBLE else ""


class Verifier:
    """Follow the evidence, and write the verdicts on the candidates that are open.

    Parameters
    ----------
    leads : int
    models : Models
        `alarms` gives the verdicts, `beats` is asked about the beats of single leads.
    verdicts : Verdicts
        Written here, read by the rules.
    """

    def __init__(self, leads: int, models: Models, verdicts: Verdicts) -> None:
        self._evidence = AlarmEvidence(leads)
        self._verdicts = verdicts
        self.use(models)

    def use(self, models: Models) -> None:
        """Ask these models from now on."""
        self._model, self._beats = models.alarms, models.beats
        self._verdicts.active = self._model is not None
        self._verdicts.clear()

    def restart(self) -> None:
        """Begin again after a gap: nothing may span it."""
        self._evidence.restart()
        self._verdicts.clear()

    def take(self, item: Item) -> list[Failure]:
        """Take an item in order of decision; return the failures of the model."""
        if isinstance(item, Hop):
            self._evidence.take_hop(item)
            return self._judge(item.stop) if self._model is not None else []
        if isinstance(item, Beat):
            self._evidence.take_beat(
                PatientBeat(
                    item.r_index,
                    *item.scores,
                    item.core_likeness,
                    item.trusted,
                    item.label == "V",
                )
            )
        elif isinstance(item, Waveform):
            self._evidence.take_window(item.decided, item.column, item.probability)
        return []

    def features(self, at: int) -> tuple[str, list[float]] | None:
        """Return what opened a candidate at the newest hop, and the features; None without one."""
        why = candidate(self._evidence.glance(at))
        if not why:
            return None
        self._ask(self._evidence.unasked())
        return why, self._evidence.features(at)

    def _judge(self, at: int) -> list[Failure]:
        """Write the verdicts at the end of a half second."""
        failures: list[Failure] = []
        verdicts = self._verdicts
        verdicts.clear()
        glance = self._evidence.glance(at)
        why = candidate(glance)
        if not why:
            return failures
        self._ask(self._evidence.unasked())
        if glance.vf_best < VF_POSSIBLE and self._evidence.longest_run(at) < VT_RUN:
            return failures  # whatever the model would say, nothing could be accepted
        features = self._evidence.features(at)
        while (model := self._model) is not None:
            try:
                answer = [rounded(p, 3) for p in model.classify(np.array([features]))[0].tolist()]
            except ModelError as error:
                failures.append(self._failed(model, error, at))
            else:
                found = verdicts_of(at, why, answer, features)
                verdicts.tachycardia, verdicts.fibrillation = found
                return failures
        return failures

    def _failed(self, model: Model, error: ModelError, at: int) -> Failure:
        """Go on with the fallback, or without verification."""
        self._model = model.fallback
        self._verdicts.active = self._model is not None
        instead = self._model.id if self._model else None
        return Failure(at, "alarms", model.id, instead, error.reason.value)

    def _ask(self, beats: list[LeadsBeat]) -> None:
        """Ask the beat model, or its fallback, about beats of single leads.

        Nearly all have been asked about when the patient's beats were labelled. That the model
        failed is reported there.
        """
        unknown = [b for b in beats if b.beat.asked.by is not self._beats]
        if unknown:
            self._ask_together(unknown)
        for beat in beats:
            if self._is_answered(beat):
                beat.use_answer()

    def _ask_together(self, beats: list[LeadsBeat]) -> bool:
        """Ask about beats in one batch; return whether there was an answer."""
        model = self._beats
        if model is None:
            return False
        views = describe([b.beat for b in beats])
        try:
            answers = model.classify(
                np.array([v.shapes for v in views]), np.array([v.features for v in views])
            )
        except ModelError:
            return False
        for beat, probability in zip(beats, ventricular(answers), strict=True):
            beat.beat.asked.by, beat.beat.asked.ventricular = model, probability
        return True

    def _is_answered(self, beat: LeadsBeat) -> bool:
        """Return whether a beat has an answer; where the model fails, the fallback is asked.

        It answers from this beat on, however many are asked about together.
        """
        while (model := self._beats) is not beat.beat.asked.by and model is not None:
            if not self._ask_together([beat]):
                self._beats = model.fallback
        return model is not None


def verdicts_of(
    at: int, why: str, answer: list[float], features: list[float]
) -> tuple[Verdict, Verdict]:
    """Return the verdicts on tachycardia and fibrillation.

    Parameters
    ----------
    at : int
        Analysis index of the end of the half second.
    why : str
        What opened the candidate.
    answer : list of float
        Probabilities of `ALARM_LABELS`.
    features : list of float
        In the order of `FEATURES`.
    """
    vt, vf = answer
    fibrillation = Verdict(at, vf, vf >= VF_LIKELY, why, {})
    return _tachycardia(at, why, vt, features), fibrillation


def _tachycardia(at: int, why: str, probability: float, features: list[float]) -> Verdict:
    """Return the verdict on a ventricular tachycardia."""
    value = {name: features[i] for name, i in _AT.items()}
    run = value["v_run1"]
    if value["at_base"] < VT_USUAL:
        run = max(run, value["l_run1_max"])
    slow = 0.0 < value["at_rate4"] < VT_LEAST_BPM  # 0: unknown
    in_a_row = run >= VT_RUN and not slow
    accepted = probability >= VT_LIKELY and (in_a_row or value["vf_best"] >= VT_BY_WAVEFORM)
    measured: dict[str, float | str] = {
        "beats": run,
        "rate_bpm": round(value["at_rate4"], 1),
        "candidate": why,
        "verified": probability,
        "mean_ventricular": round(max(value["v_mean5"], value["l_v5_max"]), 2),
        "likeness_of_5": round(max(min(value["core5"], 1.0), 0.0), 2),
        "fibrillation": round(value["vf_best"], 2),
    }
    return Verdict(at, probability, accepted, why, measured)

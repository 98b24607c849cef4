"""What the models say of beats and waveforms; Q, or nothing, where they cannot know."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.monitor.labels.tachycardia import LastingTachycardia
from tocsin_agent.monitor.rhythm.atrial import AtrialFibrillationTracker
from tocsin_agent.monitor.timeline import Beat, Failure, Irregularity, Item, Waveform
from tocsin_dsp.conditioning.quality import Hop
from tocsin_dsp.leads.leads import LeadBeat
from tocsin_dsp.leads.trust import LeadTrust, Trust
from tocsin_dsp.rhythms.fibrillation import Sight, Window
from tocsin_dsp.rhythms.irregularity import EVERY, IrregularityObserver, IrregularWindow
from tocsin_models import LABELS, Model, Models
from tocsin_models.errors import ModelError

UNKNOWN = (LABELS.index("Q"), 0.0, 0.0, np.zeros(len(LABELS), np.float32))
FROM_ABOVE = [LABELS.index("N"), LABELS.index("S")]
USUAL = 0.97  # a QRS so like the patient's usual one,
NARROW_S = 0.12  # and narrower than this, is not ventricular
SURE, STAYS_SURE, SURE_FOR_S = 0.95, 0.7, 30.0  # probabilities for labels, and how long
OTHER_LEADS = 0.4  # what the mean of the other leads counts, where there are any


Asked: TypeAlias = "LeadBeat | Window | IrregularWindow"


class Labeller:
    """Ask the models about beats and waveforms, each kind in a batch; doubt, and leave what fails.

    A beat that several good leads show is asked about in each, and the answers are averaged: noise
    and odd shapes differ from lead to lead more than extrasystoles do.

    A model that fails gives way to its fallback from the very beat or waveform on at which it
    failed, wherever the samples are cut. A ventricular beat takes another way through the heart
    than the usual one, and so is wide or of another shape: what is neither is told as N or S. Where
    the atria fibrillate, as `tocsin_agent.monitor.rhythm.atrial` says, a beat called S is told as N; where a
    ventricular tachycardia goes on, as `tocsin_agent.monitor.labels.tachycardia` says, its beats are told as V.

    Parameters
    ----------
    leads : tuple of str
    models : Models
    """

    def __init__(self, leads: tuple[str, ...], models: Models) -> None:
        self._leads = leads
        self._half_minute = IrregularityObserver()
        self._atria = AtrialFibrillationTracker(SURE_FOR_S, SURE, STAYS_SURE)
        self._trust = [LeadTrust() for _ in leads]
        self._tachycardia = LastingTachycardia()
        self.use(models)

    def use(self, models: Models) -> None:
        """Ask these models from now on."""
        self._models: dict[str, Model | None] = models._asdict()

    @property
    def model_ids(self) -> dict[str, str | None]:
        """`name@hash` of the models in use, by name; None where there is none."""
        return {name: model.id if model else None for name, model in self._models.items()}

    def _ask(
        self, name: str, asked: Sequence[Asked], *inputs: list[Any]
    ) -> tuple[NDArray[np.float32] | None, list[tuple[Asked, Failure]]]:
        """Return answers, to as many as there are, and before which sight a model gave way."""
        failures: list[tuple[Asked, Failure]] = []
        model = self._models[name]
        if model is None or not asked:
            return None, failures
        batch = [np.array(values) for values in inputs]
        try:
            return model.classify(*batch), failures
        except ModelError:  # one by one, to find out where
            rows: list[NDArray[np.float32]] = []
        while model is not None and len(rows) < len(asked):
            i = len(rows)
            try:
                rows.append(model.classify(*(values[i : i + 1] for values in batch)))
            except ModelError as error:
                failed, model = model, model.fallback
                self._models[name] = model
                sight, instead = asked[i], model.id if model else None
                while rows and asked[len(rows) - 1] is sight:  # of a beat in another lead
                    rows.pop()
                at = sight.view.decided if isinstance(sight, LeadBeat) else sight.decided
                failures.append((sight, Failure(at, name, failed.id, instead, error.reason.value)))
        return np.concatenate(rows) if rows else None, failures

    def push(self, seen: list[Sight]) -> list[Item]:
        """Return the same observations, in order, with what the models say of them."""
        read = [o for o in seen if isinstance(o, LeadBeat) and o.view.readable]
        views = [(o, view) for o in read for view in (o.view, *o.others)]
        shapes, features = [v.shapes for _, v in views], [v.features for _, v in views]
        given, failures = self._ask("beats", [o for o, _ in views], shapes, features)
        labels: Iterator[tuple[int, float, float, NDArray[np.float32]]] = iter(())
        if given is not None:
            given = _averaged(given, [len(o.others) for o in read])
            certainties = np.round(given.max(axis=1).astype(float), 3).tolist()
            above = np.round(given[:, FROM_ABOVE].sum(axis=1).astype(float), 3).tolist()
            labels = zip(given.argmax(axis=1).tolist(), certainties, above, given, strict=True)
        windows = [o for o in seen if isinstance(o, Window)]
        waveforms, features = [[w.shape] for w in windows], [w.features for w in windows]
        sure, more = self._ask("vf", windows, waveforms, features)
        fibrillating = iter([] if sure is None else np.round(sure[:, 0].astype(float), 3).tolist())
        timeline: list[Sight | Failure] = list(seen)
        for sight, failure in failures + more:
            timeline.insert(next(i for i, o in enumerate(timeline) if o is sight), failure)
        told: list[Item] = []
        rhythms: list[tuple[int, IrregularWindow]] = []  # and where they belong
        as_normal: dict[int, float] = {}  # by R: how certain a beat would be as N, were it not S
        for o in timeline:
            if isinstance(o, Hop):
                for trust, quality in zip(self._trust, o.values, strict=True):
                    trust.hear(quality)
                told.append(o)
                if o.stop % EVERY == 0 and (rhythm := self._half_minute.describe(o.stop)):
                    rhythms.append((len(told), rhythm))
            elif isinstance(o, Window):
                if (probability := next(fibrillating, None)) is not None:
                    lead = self._leads[o.lead]
                    self._trust[o.lead].see(o.decided, probability)
                    told.append(Waveform(o.decided, lead, probability, o.level_mv))
            elif isinstance(o, Failure):
                told.append(o)
            else:
                view = o.view
                label, certainty, either, row = next(labels, UNKNOWN) if view.readable else UNKNOWN
                beat = self._beat(o, label, certainty, row)
                told.append(beat)
                at, name, trusted = beat.r_index, beat.label, beat.trusted
                as_normal[at] = either
                p_score, pr_s = o.waves.p_score, o.waves.pr_s
                self._half_minute.take(at, name, trusted=trusted, p_score=p_score, pr_s=pr_s)
        return [self._heeded(o, as_normal) for o in self._with_rhythms(told, rhythms)]

    def _beat(
        self, o: LeadBeat, answer: int, certainty: float, of_all: NDArray[np.float32]
    ) -> Beat:
        """Return a beat as the classifier calls it, or as what it must be all the same."""
        view, lead = o.view, self._leads[o.lead]
        if LABELS[answer] == "V" and _is_usual_and_narrow(o):
            answer = max(FROM_ABOVE, key=of_all.item)
            certainty = round(of_all.item(answer), 3)
        trust, max_confidence = self._trust[o.lead].judge(view)
        if trust is Trust.NOISE:
            answer, certainty, _, of_all = UNKNOWN
        label, certainty = LABELS[answer], min(certainty, max_confidence)
        trusted = trust is Trust.BELIEVED and not o.missed
        alike = view.core_likeness if label in "SV" else math.nan
        held = self._tachycardia.take(o, label, certainty)
        if held is not None:
            label, (certainty, alike) = "V", held
        told = label, certainty, lead, o.waves, trusted, alike, held is not None
        return Beat(view.r_index, view.decided, *told)

    def _heeded(self, o: Item, as_normal: dict[int, float]) -> Item:
        """Return an observation as it is told in the rhythm that is known by then."""
        if isinstance(o, Irregularity):
            self._atria.take(o)
        elif isinstance(o, Beat) and o.label == "S" and self._atria.holds(o.decided):
            certainty = as_normal[o.r_index]
            return o._replace(label="N", probability=certainty, likeness=math.nan)
        return o

    def _with_rhythms(
        self, told: list[Item], rhythms: list[tuple[int, IrregularWindow]]
    ) -> list[Item]:
        """Insert what the model says of half minutes, each where it belongs."""
        windows = [window for _, window in rhythms]
        sure, failures = self._ask("af", windows, [window.features for window in windows])
        probabilities = [] if sure is None else np.round(sure[:, 0].astype(float), 3).tolist()
        failed = {id(window): failure for window, failure in failures}
        for i, (at, window) in reversed(list(enumerate(rhythms))):
            if i < len(probabilities):
                measured = (window.share_with_p, window.difference)
                told.insert(at, Irregularity(window.decided, probabilities[i], *measured))
            if id(window) in failed:
                told.insert(at, failed[id(window)])
        return told


def _averaged(given: NDArray[np.float32], others: list[int]) -> NDArray[np.float32]:
    """Return one answer a beat, of its own lead's and those of as many `others` as it has.

    Where a model failed for good there are fewer answers: beats without all of theirs have none.
    """
    shares = [
        share
        for k in others
        for share in ((1.0,) if k == 0 else (1 - OTHER_LEADS, *[OTHER_LEADS / k] * k))
    ]
    starts = np.cumsum([0, *(1 + k for k in others)])
    starts = starts[starts <= len(given)]
    if len(starts) == 1:
        return given[:0]
    weighed = given[: starts[-1]] * np.array(shares[: starts[-1]], np.float32)[:, None]
    return np.add.reduceat(weighed, starts[:-1], axis=0)


def _is_usual_and_narrow(beat: LeadBeat) -> bool:
    return beat.waves.qrs_s < NARROW_S and beat.view.core_likeness >= USUAL

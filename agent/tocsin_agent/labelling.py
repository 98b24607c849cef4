"""Labels for beats: the model's, or Q where it cannot know or has failed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tocsin_agent.rhythm import Beat
from tocsin_dsp.errors import ModelError
from tocsin_dsp.leads import LeadBeat, Observation
from tocsin_dsp.quality import Hop
from tocsin_dsp.trust import LeadTrust
from tocsin_models import LABELS, BeatModel

UNKNOWN = (LABELS.index("Q"), 0.0)


class Labeller:
    """Label beats in batches, say which to believe, and stop trusting a model that fails.

    Parameters
    ----------
    leads : tuple of str
    model : BeatModel or None

    Attributes
    ----------
    fault : str
        Why there is no model to trust; empty while there is one.
    """

    def __init__(self, leads: tuple[str, ...], model: BeatModel | None) -> None:
        self._leads = leads
        self._model = model
        self._trust = [LeadTrust() for _ in leads]
        self.fault = "" if model else "no model"

    @property
    def model_id(self) -> str | None:
        """`name@hash` of the model in use."""
        return f"{self._model.name}@{self._model.sha256[:12]}" if self._model else None

    def push(self, seen: list[Observation]) -> list[Beat | Hop]:
        """Return the same observations, in order, with the beats labelled."""
        answers = self._answers([o for o in seen if isinstance(o, LeadBeat) and o.view.readable])
        labelled: list[Beat | Hop] = []
        for o in seen:
            if isinstance(o, Hop):
                for trust, quality in zip(self._trust, o.values, strict=True):
                    trust.hear(quality)
                labelled.append(o)
                continue
            view = o.view
            label, probability = next(answers, UNKNOWN) if view.readable else UNKNOWN
            lead, trusted = self._leads[o.lead], self._trust[o.lead].believes(view)
            labelled.append(
                Beat(view.r_index, view.decided, LABELS[label], probability, lead, o.waves, trusted)
            )
        return labelled

    def _answers(self, beats: list[LeadBeat]) -> Iterator[tuple[int, float]]:
        if not beats or self._model is None:
            return iter(())
        try:
            given = self._model.classify(
                np.array([b.view.shapes for b in beats]), np.array([b.view.features for b in beats])
            )
        except ModelError as error:
            self._model, self.fault = None, error.reason.value
            return iter(())
        best = given.argmax(axis=1)
        sure = np.round(given.max(axis=1), 3)
        return zip(best.tolist(), sure.tolist(), strict=True)

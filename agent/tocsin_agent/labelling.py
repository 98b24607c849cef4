"""What the models say of beats and waveforms; Q, or nothing, where they cannot know."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.fibrillation import Waveform
from tocsin_agent.rhythm import Beat
from tocsin_dsp.errors import ModelError
from tocsin_dsp.fibrillation import Sight, Window
from tocsin_dsp.leads import LeadBeat
from tocsin_dsp.quality import Hop
from tocsin_dsp.trust import LeadTrust
from tocsin_models import LABELS, Model, Models

UNKNOWN = (LABELS.index("Q"), 0.0)
Item: TypeAlias = "Beat | Hop | Waveform"


class Labeller:
    """Ask the models about beats and waveforms, each kind in a batch; doubt, and leave what fails.

    Parameters
    ----------
    leads : tuple of str
    models : Models

    Attributes
    ----------
    faults : dict of str to str
        Why a model is not trusted, by its name; empty while all are.
    """

    def __init__(self, leads: tuple[str, ...], models: Models) -> None:
        self._leads = leads
        self._trust = [LeadTrust() for _ in leads]
        self._models: dict[str, Model | None] = models._asdict()
        self.faults = {name: "no model" for name, model in self._models.items() if model is None}

    def model_id(self, name: str) -> str | None:
        """`name@hash` of a model in use; None where there is none."""
        model = self._models[name]
        return f"{model.name}@{model.sha256[:12]}" if model else None

    def _ask(self, name: str, *inputs: list[Any]) -> NDArray[np.float32] | None:
        """Return a model's answers to a batch; None where it is not trusted."""
        model = self._models[name]
        if model is None or not inputs[0]:
            return None
        try:
            return model.classify(*(np.array(values) for values in inputs))
        except ModelError as error:
            self._models[name], self.faults[name] = None, error.reason.value
            return None

    def push(self, seen: list[Sight]) -> list[Item]:
        """Return the same observations, in order, with what the models say of them."""
        beats = [o.view for o in seen if isinstance(o, LeadBeat) and o.view.readable]
        given = self._ask("beats", [b.shapes for b in beats], [b.features for b in beats])
        labels: Iterator[tuple[int, float]] = iter(())
        if given is not None:
            certainties = np.round(given.max(axis=1), 3).tolist()
            labels = zip(given.argmax(axis=1).tolist(), certainties, strict=True)
        windows = [o for o in seen if isinstance(o, Window)]
        sure = self._ask("vf", [[w.shape] for w in windows], [w.features for w in windows])
        fibrillating = iter([] if sure is None else np.round(sure[:, 0].astype(float), 3).tolist())
        told: list[Item] = []
        for o in seen:
            if isinstance(o, Hop):
                for trust, quality in zip(self._trust, o.values, strict=True):
                    trust.hear(quality)
                told.append(o)
            elif isinstance(o, Window):
                if (probability := next(fibrillating, None)) is not None:
                    lead = self._leads[o.lead]
                    told.append(Waveform(o.decided, lead, probability, o.level_mv))
            else:
                view = o.view
                label, certainty = next(labels, UNKNOWN) if view.readable else UNKNOWN
                lead, trusted = self._leads[o.lead], self._trust[o.lead].believes(view)
                at, decided, name = view.r_index, view.decided, LABELS[label]
                alike = view.core_likeness if view.readable else math.nan
                told.append(Beat(at, decided, name, certainty, lead, o.waves, trusted, alike))
        return told

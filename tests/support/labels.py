"""Beats as leads show them, and models whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.beats.beats import FEATURES, SHAPE, BeatView
from tocsin_dsp.beats.delineation import Delineated
from tocsin_dsp.beats.waves import UNKNOWN
from tocsin_dsp.leads.leads import LeadBeat
from tocsin_models import BEATS, Model
from tocsin_models.errors import ModelError, ModelFault

RATE = 250


class Answers(Model):
    """A model that gives one answer to all."""

    def __init__(self, *answer: float) -> None:
        self.name, self.sha256, self.contract, self._answer = "answers", "0" * 64, BEATS, answer

    def classify(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Answer."""
        return np.tile(np.array(self._answer, np.float32), (len(inputs[0]), 1))


class ByFeature(Model):
    """A model that gives V the first feature as its probability, and the rest to N.

    It fails when it has given so many answers.
    """

    def __init__(self, answers: int = 1 << 20, fallback: Model | None = None) -> None:
        self.name, self.sha256, self.contract, self._left = "by", "1" * 64, BEATS, answers
        self.fallback = fallback

    def classify(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Answer."""
        if len(inputs[0]) > self._left:
            raise ModelError(ModelFault.OUTPUT, "no more answers")
        self._left -= len(inputs[0])
        v = inputs[1][:, 0]
        return np.column_stack((1 - v, 0 * v, v, 0 * v, 0 * v)).astype(np.float32)


class Fails(Model):
    """A model that never answers."""

    def __init__(self, name: str = "fails", fallback: Model | None = None) -> None:
        self.name, self.sha256, self.contract, self.fallback = name, "2" * 64, BEATS, fallback

    def classify(self, *_: NDArray[Any]) -> NDArray[np.float32]:
        """Fail."""
        raise ModelError(ModelFault.OUTPUT, "no answer")


def in_leads(r: int, *ventricular: float, readable: bool = True) -> LeadBeat:
    """Give a beat as the lead in use and others show it, with what `ByFeature` answers for each."""
    views = []
    for v in ventricular:
        features = np.zeros(len(FEATURES))
        features[0] = v
        shapes = np.ones((2, SHAPE))
        views.append(BeatView(r, r + 91, 1.0, 0.8, 1.0, readable, shapes, features))
    return LeadBeat(views[0], 0, others=tuple(views[1:]))


def shaped(likeness: float, qrs_s: float, r: int = 1000) -> LeadBeat:
    """Give a beat so like the usual one and so wide."""
    features = np.zeros(len(FEATURES))
    centre, gain = FEATURES["core_likeness"]
    features[list(FEATURES).index("core_likeness")] = (likeness - centre) * gain
    view = BeatView(r, r + 91, 1.0, 0.8, 1.0, True, np.ones((2, SHAPE)), features)
    waves = UNKNOWN._replace(qrs_onset=r - 10.0, qrs_end=r - 10.0 + qrs_s * RATE)
    return LeadBeat(view, 0, Delineated(waves))

"""What the labeller makes of a model's answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tocsin_agent.labelling import NARROW_S, USUAL, Labeller
from tocsin_agent.rhythm import Beat
from tocsin_dsp.beats import FEATURES, SHAPE, BeatView
from tocsin_dsp.leads import LeadBeat
from tocsin_dsp.waves import UNKNOWN
from tocsin_models import BEATS, Model, Models

RATE = 250


class _Says(Model):
    """A model that answers the same of every beat."""

    def __init__(self, *answer: float) -> None:
        self.name, self.sha256, self.contract, self._answer = "says", "0" * 64, BEATS, answer

    def classify(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        return np.tile(np.array(self._answer, np.float32), (len(inputs[0]), 1))


def told(likeness: float, qrs_s: float, *answer: float) -> Beat:
    """Give what is told of a beat so like the usual one and so wide."""
    features = np.zeros(len(FEATURES))
    centre, gain = FEATURES["core_likeness"]
    features[list(FEATURES).index("core_likeness")] = (likeness - centre) * gain
    view = BeatView(1000, 1091, 1.0, 0.8, 1.0, True, np.ones((2, SHAPE)), features)
    waves = UNKNOWN._replace(qrs_onset=990.0, qrs_end=990.0 + qrs_s * RATE)
    (beat,) = Labeller(("II",), Models(beats=_Says(*answer))).push([LeadBeat(view, 0, waves)])
    assert isinstance(beat, Beat)
    return beat


@pytest.mark.parametrize(
    ("likeness", "qrs_s", "label"),
    [
        (USUAL + 0.01, NARROW_S - 0.01, "S"),
        (USUAL - 0.01, NARROW_S - 0.01, "V"),
        (USUAL + 0.01, NARROW_S + 0.01, "V"),
        (USUAL + 0.01, float("nan"), "V"),
    ],
)
def test_a_narrow_beat_of_the_usual_shape_is_not_ventricular(
    likeness: float, qrs_s: float, label: str
) -> None:
    beat = told(likeness, qrs_s, 0.1, 0.2, 0.6, 0.05, 0.05)
    assert beat.label == label
    assert beat.probability == pytest.approx(0.6 if label == "V" else 0.2)


def test_other_answers_stay_as_they_are() -> None:
    assert told(0.99, 0.08, 0.6, 0.1, 0.2, 0.05, 0.05).label == "N"
    assert told(0.99, 0.08, 0.1, 0.1, 0.2, 0.05, 0.55).label == "Q"

"""What the labeller makes of a model's answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tocsin_agent.monitor.labels.labeller import NARROW_S, OTHER_LEADS, USUAL, Labeller
from tocsin_agent.monitor.timeline import Beat, Item
from tocsin_dsp.beats.beats import FEATURES, SHAPE, BeatView
from tocsin_dsp.beats.waves import UNKNOWN
from tocsin_dsp.leads.leads import LeadBeat
from tocsin_models import BEATS, Model, Models
from tocsin_models.errors import ModelError, ModelFault

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


class _ByStrength(Model):
    """A model that says V with the first feature as its probability, else N."""

    def __init__(self, answers: int = 1 << 20) -> None:
        self.name, self.sha256, self.contract, self._left = "by", "0" * 64, BEATS, answers

    def classify(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        if len(inputs[0]) > self._left:
            raise ModelError(ModelFault.OUTPUT, "no more answers")
        self._left -= len(inputs[0])
        v = inputs[1][:, 0]
        return np.column_stack((1 - v, 0 * v, v, 0 * v, 0 * v)).astype(np.float32)


def seen(r: int, *ventricular: float) -> LeadBeat:
    """Give a beat as the lead in use and others show it, with what a model will say of each."""
    views = []
    for v in ventricular:
        features = np.zeros(len(FEATURES))
        features[0] = v
        views.append(BeatView(r, r + 91, 1.0, 0.8, 1.0, True, np.ones((2, SHAPE)), features))
    return LeadBeat(views[0], 0, others=tuple(views[1:]))


def labels(beats: list[LeadBeat], model: Model, together: int) -> list[tuple[str, float]]:
    labeller = Labeller(("I", "II", "III"), Models(beats=model))
    told: list[Item] = []
    for i in range(0, len(beats), together):
        told += labeller.push(list(beats[i : i + together]))
    return [(o.label, o.probability) for o in told if isinstance(o, Beat)]


BEATS_OF_LEADS = [seen(1000, 0.9), seen(1200, 0.7, 0.1), seen(1400, 0.6, 0.6, 0.2), seen(1600, 0.4)]


@pytest.mark.parametrize("together", [1, 2, 4])
def test_answers_of_several_leads_are_averaged(together: int) -> None:
    own = 1 - OTHER_LEADS
    expected = [0.9, 0.7 * own + 0.1 * OTHER_LEADS, 0.6 * own + 0.4 * OTHER_LEADS, 0.4]
    told = labels(BEATS_OF_LEADS, _ByStrength(), together)
    assert [label for label, _ in told] == ["V" if v > 0.5 else "N" for v in expected]
    assert [p for _, p in told] == pytest.approx([max(v, 1 - v) for v in expected], abs=1e-3)


@pytest.mark.parametrize("together", [1, 2, 4])
@pytest.mark.parametrize("answers", range(8))
def test_a_beat_without_all_its_answers_is_unknown(together: int, answers: int) -> None:
    complete = [b for b, stop in zip(BEATS_OF_LEADS, (1, 3, 6, 7), strict=True) if stop <= answers]
    told = labels(BEATS_OF_LEADS, _ByStrength(answers), together)
    assert [label for label, _ in told][len(complete) :] == ["Q"] * (4 - len(complete))
    assert "Q" not in [label for label, _ in told][: len(complete)]


@pytest.mark.parametrize("together", [1, 2, 4])
def test_a_beat_at_which_a_model_fails_is_told_by_the_next_in_all_leads(together: int) -> None:
    failing = _ByStrength(4)  # in the second lead of the third beat
    failing.fallback = _Says(0.0, 0.0, 0.0, 0.0, 1.0)
    told = labels(BEATS_OF_LEADS, failing, together)
    assert [label for label, _ in told] == ["V", "N", "Q", "Q"]
    assert [p for _, p in told][2:] == pytest.approx([1.0, 1.0])


def test_other_answers_stay_as_they_are() -> None:
    assert told(0.99, 0.08, 0.6, 0.1, 0.2, 0.05, 0.05).label == "N"
    assert told(0.99, 0.08, 0.1, 0.1, 0.2, 0.05, 0.55).label == "Q"

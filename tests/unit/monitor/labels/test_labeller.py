"""How answers, qualities and failures are merged in the order of decision."""

from __future__ import annotations

import numpy as np
import pytest

from support.labels import Answers, ByFeature, Fails, in_leads
from tocsin_agent.monitor.labels.labeller import Labeller
from tocsin_agent.monitor.timeline import Beat, Failure, Irregularity, Item, Waveform
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
from tocsin_dsp.rhythms.fibrillation import FEATURES, POINTS, TimedItem, Window
from tocsin_dsp.rhythms.irregularity import IrregularWindow
from tocsin_models import Model, Models

LEADS = ("I", "II", "III")


def hop(number: int) -> Hop:
    return Hop(number * HOP, (LeadState.GOOD,) * 3, (1.0,) * 3)


def window(at: int) -> Window:
    return Window(at, 1, 0.3, np.zeros(POINTS), np.zeros(len(FEATURES)))


def half_minute(at: int) -> IrregularWindow:
    return IrregularWindow(at, np.zeros(19), 0.1, 0.2)


OBSERVED: list[TimedItem] = [
    hop(7),
    in_leads(850, 0.9),
    hop(8),
    window(1000),
    in_leads(1000, 0.7, 0.1),
    in_leads(1100, 0.8, readable=False),
    hop(9),
    in_leads(1150, 0.6),
    window(1250),
]


def labelled(models: Models, together: int = 100) -> list[Item]:
    labeller = Labeller(LEADS, models)
    parts = range(0, len(OBSERVED), together)
    return [item for i in parts for item in labeller.push(OBSERVED[i : i + together])]


def kinds(items: list[Item]) -> list[type]:
    return [type(item) for item in items]


def test_the_order_is_that_of_decision() -> None:
    items = labelled(Models(beats=ByFeature(), vf=Answers(0.5)))
    assert kinds(items) == [Hop, Beat, Hop, Waveform, Beat, Beat, Hop, Beat, Waveform]
    assert [i.label for i in items if isinstance(i, Beat)] == ["V", "N", "Q", "V"]
    assert [i.lead for i in items if isinstance(i, Waveform)] == ["II", "II"]


def test_without_models_beats_are_unknown_and_windows_are_left_out() -> None:
    items = labelled(Models())
    assert kinds(items) == [Hop, Beat, Hop, Beat, Beat, Hop, Beat]
    assert {i.label for i in items if isinstance(i, Beat)} == {"Q"}


def failing(answers: int) -> tuple[Models, Model]:
    fallback = Answers(0.0, 0.0, 0.0, 1.0, 0.0)
    return Models(beats=ByFeature(answers, fallback), vf=Fails()), fallback


@pytest.mark.parametrize("together", [1, 2, 3, 100])
def test_failures_stand_before_the_items_at_which_they_happened(together: int) -> None:
    models, fallback = failing(2)  # enough for the first beat and one lead of the second
    items = labelled(models, together)
    assert kinds(items) == [Hop, Beat, Hop, Failure, Failure, Beat, Beat, Hop, Beat]
    vf, beats = (i for i in items if isinstance(i, Failure))
    assert (vf.name, vf.decided, vf.instead) == ("vf", 1000, None)
    assert (beats.name, beats.decided, beats.instead) == ("beats", 1091, fallback.id)
    assert [i.label for i in items if isinstance(i, Beat)] == ["V", "F", "Q", "F"]
    assert items == labelled(failing(2)[0], 100), "in any cutting"


def test_half_minutes_become_probabilities_in_their_places() -> None:
    beats = [i for i in labelled(Models(beats=ByFeature())) if isinstance(i, Beat)]
    labeller = Labeller(LEADS, Models(af=Answers(0.96)))
    timeline: list[Item | IrregularWindow] = [hop(10), half_minute(1250), *beats, half_minute(2500)]
    items = labeller.in_rhythm(timeline)
    assert kinds(items) == [Hop, Irregularity, *[Beat] * 4, Irregularity]
    assert items[1] == Irregularity(1250, 0.96, 0.1, 0.2)


def test_a_failure_over_a_half_minute_stands_in_its_place() -> None:
    labeller = Labeller(LEADS, Models(af=Fails(fallback=Answers(0.2))))
    items = labeller.in_rhythm([half_minute(1250), hop(10), half_minute(2500)])
    assert kinds(items) == [Failure, Irregularity, Hop, Irregularity]
    alone = Labeller(LEADS, Models(af=Fails())).in_rhythm([half_minute(1250), half_minute(2500)])
    assert kinds(alone) == [Failure]

"""Half minutes stand after every fifth second, and describe the beats before them."""

from __future__ import annotations

import numpy as np

from support.rhythms import RATE, hops, in_time
from tocsin_agent.monitor.labels.half_minutes import with_half_minutes
from tocsin_agent.monitor.timeline import Beat, Item
from tocsin_dsp.conditioning.quality import Hop
from tocsin_dsp.rhythms.irregularity import EVERY, IrregularityObserver, IrregularWindow


def timeline(irregular: bool) -> list[Item | IrregularWindow]:
    rr = np.random.default_rng(1).uniform(0.5, 1.1, 50) if irregular else np.full(50, 0.8)
    places = np.cumsum(np.round(rr * RATE).astype(int)).tolist()
    beats = [Beat(r, r + 91, "N", 0.9, "II") for r in places]
    return with_half_minutes(IrregularityObserver(), in_time(*beats, *hops(40.0)))


def test_an_irregular_rhythm_is_described_every_five_seconds() -> None:
    items = timeline(irregular=True)
    described = [i for i, item in enumerate(items) if isinstance(item, IrregularWindow)]
    assert len(described) >= 6
    for i in described:
        before = items[i - 1]
        assert isinstance(before, Hop)
        assert before.stop == items[i].decided
        assert before.stop % EVERY == 0


def test_a_regular_one_is_not() -> None:
    assert not [i for i in timeline(irregular=False) if isinstance(i, IrregularWindow)]

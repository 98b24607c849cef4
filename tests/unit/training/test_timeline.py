"""The rules over a kept timeline raise what a monitor raises."""

from __future__ import annotations

import numpy as np
import pytest

from support.patients import CALM, asystole, fibrillating, make_script, play
from tocsin_agent.sources.scripted.script import ScriptedRhythm, Segment
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_models import load_models
from tocsin_training.alarms.timeline import decide, replay

VT = Segment(rhythm=ScriptedRhythm.VENTRICULAR_TACHYCARDIA, seconds=20.0, rate_bpm=170.0)
RUN = "NNNNNNNNNVVVVVV"
SEGMENTS = {
    "tachycardia": (CALM, VT, CALM),
    "fibrillation": (CALM, fibrillating(), CALM),
    "standstill": (CALM, asystole(12.0), CALM),
}


@pytest.mark.parametrize("rhythm", SEGMENTS)
def test_a_replayed_timeline_raises_the_alarms_of_the_monitor(rhythm: str) -> None:
    script, models = make_script(*SEGMENTS[rhythm]), load_models()
    with SyntheticSource(script) as source:
        kept = decide(source, models)
    assert models.alarms is not None
    said = models.alarms.classify(kept.x) if len(kept.x) else np.zeros((0, 2), np.float32)
    expected = [
        (a.code, a.phase, a.onset_index, a.detected_index) for a in play(script, models).alerts
    ]
    found = [(a.code, a.phase, a.onset_index, a.detected_index) for a in replay(kept, said)]
    assert found == expected
    assert len(expected) >= 2
    assert kept.samples == script.samples


@pytest.mark.parametrize(("answer", "raised"), [(0.0, False), (1.0, True)])
def test_the_answer_of_the_model_decides_on_a_short_run(answer: float, raised: bool) -> None:
    with SyntheticSource(make_script(CALM, Segment(seconds=20.0, pattern=RUN), CALM)) as source:
        kept = decide(source, load_models())
    alerts = replay(kept, np.full((len(kept.x), 2), (answer, 0.0), np.float32))
    assert ("ventricular_tachycardia" in {a.code for a in alerts}) is raised

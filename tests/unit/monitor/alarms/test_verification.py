"""Verification of ventricular alarms: candidates, verdicts, and a model that fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from support.patients import CALM, make_script, one_block, run_monitor, samples_of
from tocsin_agent.messages.alert import Phase
from tocsin_agent.monitor.alarms.verification import Verifier, candidate, verdicts_of
from tocsin_agent.monitor.rhythm.verdicts import Verdicts
from tocsin_agent.monitor.timeline import Beat, Scores
from tocsin_agent.sources.scripted.script import ScriptedRhythm, Segment
from tocsin_dsp.conditioning.quality import HOP, Extent, Hop, LeadState
from tocsin_dsp.rhythms.evidence import FEATURES, Glance
from tocsin_models import Model, Models, load_models
from tocsin_models.errors import ModelError, ModelFault

LINE = Extent(0.1, -0.1, 0.0, 0.01, 0.1)
VT = Segment(rhythm=ScriptedRhythm.VENTRICULAR_TACHYCARDIA, seconds=20.0, rate_bpm=170.0)


class Says:
    """A model that gives one answer."""

    id, fallback = "says@1", None

    def __init__(self, vt: float, vf: float) -> None:
        self.answer = np.array([[vt, vf]], np.float32)

    def classify(self, *_inputs: NDArray[Any]) -> NDArray[np.float32]:
        return self.answer


class Fails(Says):
    id = "fails@1"

    def __init__(self) -> None:
        super().__init__(0, 0)

    def classify(self, *_inputs: NDArray[Any]) -> NDArray[np.float32]:
        raise ModelError(ModelFault.OUTPUT, "fails")


def hop(at: int, quality: float = 1.0) -> Hop:
    return Hop(at, (LeadState.GOOD,), (quality,), extents=(LINE,))


def ventricular(beats: int, rr: int = 100) -> list[Beat]:
    scores = Scores(0.9, 0.9, 0.9, 0.05)
    return [
        Beat(500 + i * rr, 600 + i * rr, "V", 0.9, "II", scores=scores, core_likeness=0.2)
        for i in range(beats)
    ]


def judged(model: Says, beats: int, quality: float = 1.0) -> tuple[Verdicts, int]:
    """Give the verdicts after so many ventricular beats, and the number of failures."""
    verdicts = Verdicts()
    verifier = Verifier(1, Models(alarms=model), verdicts)  # type: ignore[arg-type]
    hops = [hop(at, quality) for at in range(HOP, 2001, HOP)]
    items: list[Beat | Hop] = [*ventricular(beats), *hops]
    failures = [f for i in sorted(items, key=lambda i: i.decided) for f in verifier.take(i)]
    return verdicts, len(failures)


@pytest.mark.parametrize(
    ("glance", "is_open"),
    [
        (Glance(0, 0, 0, 0, 0, 0), False),
        (Glance(0.34, 0.24, 1, 1, 0.29, 0), False),
        (Glance(0.35, 0, 0, 0, 0, 0), True),
        (Glance(0, 0.25, 0, 0, 0, 0), True),
        (Glance(0, 0, 2, 0, 0, 0), True),
        (Glance(0, 0, 0, 2, 0, 0), True),
        (Glance(0, 0, 0, 0, 0.3, 0), True),
    ],
)
def test_a_candidate_is_opened_by_any_of_its_signs(glance: Glance, is_open: bool) -> None:
    assert bool(candidate(glance)) is is_open


def test_without_a_candidate_the_model_is_not_asked() -> None:
    verdicts, failures = judged(Fails(), 1)
    assert (verdicts.tachycardia, verdicts.fibrillation, failures) == (None, None, 0)
    assert verdicts.active


def test_a_verdict_states_candidate_probability_and_evidence() -> None:
    verdicts, _ = judged(Says(0.8, 0.1), 5, quality=0.5)
    verdict = verdicts.tachycardia
    assert verdict is not None
    assert verdict.accepted
    assert verdict.measured["verified"] == pytest.approx(0.8)
    assert verdict.measured["candidate"] == "two ventricular beats in a row"
    assert verdict.measured["beats"] == 5.0
    assert verdicts.fibrillation is not None
    assert not verdicts.fibrillation.accepted


@pytest.mark.parametrize("quality", [0.5, 1.0])
def test_the_model_is_asked_from_four_beats_on(quality: float) -> None:
    assert judged(Fails(), 3, quality)[1] == 0
    verdict = judged(Says(0.8, 0.1), 4, quality)[0].tachycardia
    assert verdict is not None
    assert verdict.accepted


@pytest.mark.parametrize(
    ("rate_bpm", "fibrillation", "accepted"),
    [(79.0, 0.0, False), (80.0, 0.0, True), (0.0, 0.0, True), (60.0, 0.3, True)],
)
def test_a_tachycardia_has_a_rate_unless_the_waveform_fibrillates(
    rate_bpm: float, fibrillation: float, accepted: bool
) -> None:
    features = [0.0] * len(FEATURES)
    for name, value in (("v_run1", 5.0), ("at_rate4", rate_bpm), ("vf_best", fibrillation)):
        features[FEATURES.index(name)] = value
    assert verdicts_of(2000, "why", [0.8, 0.1], features)[0].accepted == accepted


def test_an_improbable_tachycardia_is_not_accepted() -> None:
    verdict = judged(Says(0.15, 0.1), 8, 0.5)[0].tachycardia
    assert verdict is not None
    assert not verdict.accepted


def test_a_model_that_fails_is_reported_once_and_the_rules_go_on() -> None:
    verdicts, failures = judged(Fails(), 6)
    assert failures == 1
    assert not verdicts.active


@pytest.mark.parametrize("alarms", [None, Fails()])
def test_without_the_model_a_tachycardia_is_raised_by_rule(alarms: Says | None) -> None:
    script = make_script(CALM, VT, CALM)
    spec, samples = samples_of(script)
    models = load_models()._replace(alarms=alarms)  # type: ignore[arg-type]
    monitored = run_monitor(one_block(spec, samples), models)
    onsets = [a for a in monitored.alerts if a.phase is Phase.ONSET]
    codes = {a.code for a in onsets}
    assert {"ventricular_tachycardia", "model_failed"} <= codes


class Counts(Model):
    """The shipped beat model, and how many rows it was asked about."""

    fallback = None

    def __init__(self) -> None:
        self.model, self.rows = load_models().beats, 0
        assert self.model is not None
        self.name, self.sha256 = self.model.name, self.model.sha256

    def classify(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        self.rows += len(inputs[0])
        assert self.model is not None
        return self.model.classify(*inputs)


def test_a_beat_that_was_labelled_is_not_asked_about_again() -> None:
    spec, samples = samples_of(make_script(CALM, VT, CALM))
    counts = Counts()
    one_lead = replace(spec, leads=spec.leads[:1])
    block = one_block(one_lead, samples[:, :1])
    monitored = run_monitor(block, load_models()._replace(beats=counts))
    assert "ventricular_tachycardia" in {a.code for a in monitored.alerts}
    assert counts.rows <= len(monitored.beats) + 5

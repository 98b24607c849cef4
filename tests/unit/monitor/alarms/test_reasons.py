"""What an alert states of the ventricular beats that it rests on."""

from __future__ import annotations

import math

import pytest

from support.patients import CALM, make_script, play
from tocsin_agent.monitor.alarms.reasons import explain
from tocsin_agent.monitor.rhythm.finding import Reason
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.rhythm import Rhythm
from tocsin_agent.monitor.rhythm.ventricular import RUN_REASONS
from tocsin_agent.monitor.timeline import Beat
from tocsin_agent.sources.scripted.script import Segment
from tocsin_dsp.beats.delineation import Delineated
from tocsin_dsp.beats.waves import UNKNOWN, Waves
from tocsin_dsp.conditioning.quality import Hop, LeadState
from tocsin_models import load_models

QUALITY = Hop(0, (LeadState.GOOD,), (1.0,))


def waves(qrs_s: float, p_score: float) -> Waves:
    return UNKNOWN._replace(qrs_onset=0.0, qrs_end=qrs_s * 250, p_score=p_score)


def reason(
    early: float | None, measured: Waves = UNKNOWN, likeness: float = math.nan, label: str = "V"
) -> Reason:
    return Reason(Beat(0, 91, label, 0.9, "II", Delineated(measured), True, likeness), early)


def test_medians_over_the_beats() -> None:
    given = [
        reason(10.0, waves(0.10, 0.9), 0.5),
        reason(30.0, waves(0.16, 0.1), 0.3),
        reason(50.0, waves(0.14, 0.2), -0.4),
    ]
    assert explain(given) == {
        "premature_percent": 30.0,
        "qrs_ms": 140.0,
        "likeness": 0.3,
        "p_waves": 1.0,
        "p_waves_sought": 3.0,
    }


def test_what_is_unknown_of_some_is_taken_from_the_others_and_of_all_is_left_out() -> None:
    given = [reason(None), reason(20.0, waves(0.12, math.nan), -0.4)]
    assert explain(given) == {"premature_percent": 20.0, "qrs_ms": 120.0, "likeness": 0.0}
    assert explain([reason(None)]) == explain([]) == {}


def found(rr: list[int], labels: str) -> dict[str, tuple[Reason, ...]]:
    """Give the reasons of the last finding of each code."""
    rhythm, at, reasons = Rhythm(("II",), Limits()), 250, {}
    rhythm.take(QUALITY)
    for step, label in zip([0, *rr], labels, strict=True):
        at += step
        for finding in rhythm.take(Beat(at, at + 91, label, 0.9, "II")):
            reasons[finding.code] = finding.reasons
    return reasons


def test_a_beat_is_early_against_the_usual_interval() -> None:
    (first, second) = found([200] * 8 + [120, 150, 280], "N" * 9 + "VVN")["couplet"]
    assert first.premature_percent == pytest.approx(40.0)
    assert second.premature_percent == pytest.approx(25.0)


def test_the_first_beats_of_a_run_are_its_reasons_however_long_it_lasts() -> None:
    result = found([200] * 8 + [100] * 60, "N" * 9 + "V" * 60)["ventricular_tachycardia"]
    assert len(result) == RUN_REASONS
    assert {r.premature_percent for r in result} == {50.0}


def test_bigeminy_and_frequent_beats_state_their_reasons() -> None:
    result = found([200] * 8 + [130, 270] * 12, "N" * 9 + "VN" * 12)
    assert len(result["bigeminy"]) == Limits().bigeminy_beats
    assert len(result["frequent_ventricular"]) == Limits().frequent_per_min
    assert all((r.premature_percent or 0.0) > 25.0 for r in result["frequent_ventricular"])


def test_an_alert_and_its_beats_agree() -> None:
    script = make_script(CALM, Segment(seconds=20.0, pattern="NNNNVV"), CALM)
    result = play(script, load_models())
    (couplet,) = result.of("couplet")
    measured = couplet.evidence.measured
    assert float(measured["premature_percent"]) > 15.0
    assert float(measured["qrs_ms"]) > 110.0
    assert float(measured["likeness"]) < 0.9
    assert float(measured["p_waves"]) == 0.0
    assert float(measured["p_waves_sought"]) > 0.0
    ventricular = [b for b in result.beats if b.label == "V"][:2]
    normal = [b for b in result.beats if b.label == "N"]
    assert all(b.premature_percent is not None for b in ventricular)
    assert all(b.likeness is not None and b.likeness < 0.9 for b in ventricular)
    assert {(b.premature_percent, b.likeness) for b in normal} == {(None, None)}

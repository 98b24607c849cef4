"""What the context of a patient changes in limits and alarms."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

import msgspec
import pytest

from support.patients import CALM, Monitored, make_script, read_all, recut
from tocsin_agent.messages.alert import Phase
from tocsin_agent.messages.context import AgeClass, DoNotAlarm, PatientContext
from tocsin_agent.monitor import PatientMonitor
from tocsin_agent.monitor.alarms.context import (
    AGE_LIMITS,
    PACED_SUPPRESSES,
    Suppression,
    Suppressions,
    admit,
    closed_by,
    effect_of,
    refuse,
)
from tocsin_agent.monitor.alarms.table import ALARMS
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.sources.scripted.script import ScriptedRhythm, Segment
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_dsp.signal import SampleBlock
from tocsin_models import Models, load_models

LIMITS = Limits()
TOMORROW = datetime(2026, 11, 30, tzinfo=UTC)


def found(code: str) -> Finding:
    return Finding(code, 0, 100, "a rule", {}, {})


def off(*codes: str) -> PatientContext:
    return PatientContext(do_not_alarm=tuple(DoNotAlarm(code, TOMORROW) for code in codes))


def test_without_a_context_nothing_changes() -> None:
    effect = effect_of(PatientContext(), LIMITS)
    assert effect.is_none
    assert effect.limits is LIMITS


@pytest.mark.parametrize("age", [AgeClass.CHILD, AgeClass.NEONATE])
def test_an_age_class_replaces_the_limits_that_are_at_their_default(age: AgeClass) -> None:
    effect = effect_of(PatientContext(age=age), LIMITS)
    for name, value in AGE_LIMITS[age].items():
        assert getattr(effect.limits, name) == value
    assert effect.limits.asystole_s == LIMITS.asystole_s
    assert effect.limits.vt_bpm == LIMITS.vt_bpm
    (finding,) = admit(effect, [found("extreme_tachycardia")], 200.0)
    assert finding.measured["context"] == (
        f"{age}: limit {AGE_LIMITS[age]['tachycardia_bpm']:g}/min instead of 140/min"
    )


def test_a_limit_that_the_site_has_chosen_stays() -> None:
    limits = msgspec.structs.replace(LIMITS, tachycardia_bpm=160.0)
    effect = effect_of(PatientContext(age=AgeClass.CHILD), limits)
    assert effect.limits.tachycardia_bpm == 160.0
    assert effect.limits.bradycardia_bpm == 60.0
    assert "extreme_tachycardia" not in effect.notes


@pytest.mark.parametrize(
    ("usual", "low", "high"), [(75.0, 40.0, 140.0), (42.0, 33.6, 140.0), (130.0, 40.0, 156.0)]
)
def test_the_usual_rate_moves_only_the_limit_it_is_near(
    usual: float, low: float, high: float
) -> None:
    limits = effect_of(PatientContext(usual_rate_bpm=usual), LIMITS).limits
    assert (limits.bradycardia_bpm, limits.tachycardia_bpm) == (low, high)


def test_a_pacemakers_wide_beats_raise_no_alarm_and_a_tachycardia_does() -> None:
    effect = effect_of(PatientContext(paced=True), LIMITS)
    assert admit(effect, [found(code) for code in PACED_SUPPRESSES], 70.0) == []
    grave = [found("ventricular_tachycardia"), found("asystole")]
    assert admit(effect, grave, 70.0) == grave


@pytest.mark.parametrize(
    ("rate", "raised"), [(None, False), (80.0, False), (110.0, True), (50.0, True), (51.0, False)]
)
def test_known_fibrillation_raises_an_alarm_on_its_rate_only(
    rate: float | None, raised: bool
) -> None:
    effect = effect_of(PatientContext(atrial_fibrillation=True), LIMITS)
    admitted = admit(effect, [found("atrial_fibrillation")], rate)
    assert bool(admitted) is raised
    if raised:
        assert f"{rate:.0f}/min" in str(admitted[0].measured["context"])


def test_a_suppressed_condition_is_reported_once_until_it_has_not_been_found_for_its_hold() -> None:
    effect, log = effect_of(PatientContext(paced=True), LIMITS), Suppressions()

    def take(code: str, at: int) -> list[Suppression]:
        return log.take(effect, [found(code)._replace(at=at)], 70.0)

    assert take("couplet", 100) == [Suppression("couplet", 100, "the patient is paced")]
    assert take("couplet", 100 + 59 * 250) == []
    assert take("couplet", 100 + 118 * 250) == [], "each time that it is found it is held again"
    assert take("asystole", 100) == [], "it raises an alarm"
    again = 100 + 178 * 250
    assert take("couplet", again) == [Suppression("couplet", again, "the patient is paced")]
    assert len(take("ventricular_run", again)) == 1


def test_known_fibrillation_that_is_suppressed_states_its_rate() -> None:
    effect, log = effect_of(PatientContext(atrial_fibrillation=True), LIMITS), Suppressions()
    finding = found("atrial_fibrillation")
    assert log.take(effect, [finding], 120.0) == []
    (one,) = log.take(effect, [finding], 72.0)
    assert one.reason == "atrial fibrillation is known, 72/min"


@pytest.mark.parametrize("code", sorted(ALARMS))
def test_only_medium_and_low_alarms_of_the_patient_can_be_switched_off(code: str) -> None:
    alarm = ALARMS[code]
    allowed = alarm.kind == "physiological" and alarm.priority != "high"
    assert (refuse(off(code)) == "") is allowed
    if not allowed:
        assert code in refuse(off(code))


def test_an_unknown_alarm_cannot_be_switched_off() -> None:
    assert "no alarm 'headache'" in refuse(off("headache"))


def test_a_new_context_ends_what_it_suppresses_and_says_why() -> None:
    before = effect_of(PatientContext(), LIMITS)
    after = effect_of(off("couplet"), LIMITS)
    assert closed_by(before, after) == {
        "couplet": "no longer reported: switched off until 2026-11-30 00:00 UTC"
    }
    assert closed_by(after, after) == {}


# -- in the monitor ---------------------------------------------------------------------------


@cache
def models() -> Models:
    return load_models()


@cache
def blocks(kind: str) -> tuple[SampleBlock, ...]:
    segments = {
        "fast": (CALM, Segment(seconds=30.0, rate_bpm=165.0), CALM),
        "af": (
            CALM,
            Segment(rhythm=ScriptedRhythm.ATRIAL_FIBRILLATION, seconds=90.0, rate_bpm=85.0),
        ),
        "ectopy": (CALM, Segment(seconds=60.0, pattern="NNNNVV"), CALM),
    }
    return tuple(read_all(SyntheticSource(make_script(*segments[kind]), block_s=3600.0)))


def monitored(
    given: list[SampleBlock], context: PatientContext | None = None, change_at: int = -1
) -> Monitored:
    """Run a monitor; `context` applies from the start, or from the block that begins there."""
    first = context if change_at < 0 else None
    monitor = PatientMonitor(given[0].spec, None, models(), context=first)
    result = Monitored([], [])
    for block in given:
        if block.start_index == change_at and context is not None:
            result.alerts.extend(monitor.use_context(context).alerts)
        report = monitor.push(block)
        result.beats.extend(report.beats)
        result.alerts.extend(report.alerts)
    result.alerts.extend(monitor.finish().alerts)
    return result


def test_a_childs_fast_rate_raises_no_alarm() -> None:
    given = list(blocks("fast"))
    assert monitored(given).of("extreme_tachycardia")
    assert not monitored(given, PatientContext(age=AgeClass.CHILD)).of("extreme_tachycardia")


def test_known_fibrillation_is_quiet_and_everything_else_stays() -> None:
    given = list(blocks("af"))
    plain = monitored(given)
    known = monitored(given, PatientContext(atrial_fibrillation=True))
    assert plain.of("atrial_fibrillation")
    assert not known.of("atrial_fibrillation")
    assert known.beats == plain.beats


@pytest.mark.parametrize("rows", [90, 720, 7200])
def test_a_context_applies_from_a_stated_sample_on_however_the_blocks_are_cut(rows: int) -> None:
    (block,) = blocks("ectopy")
    at = 50 * 360
    halves = [
        SampleBlock(block.spec, 0, block.samples_mv[:at]),
        SampleBlock(block.spec, at, block.samples_mv[at:]),
    ]
    whole = monitored(halves, off("couplet"), at)
    cut = monitored(recut(halves, lambda: rows), off("couplet"), at)
    assert cut.beats == whole.beats
    assert cut.alerts == whole.alerts
    (end,) = whole.of("couplet", Phase.END)
    assert "switched off until" in end.text
    assert end.detected_index == pytest.approx(at, abs=360)

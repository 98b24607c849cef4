"""The whole monitor on synthetic patients: what is raised, when, and what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.patients import (
    ATRIAL_FIBRILLATION,
    CALM,
    Monitored,
    asystole,
    fibrillating,
    make_script,
    one_block,
    onset,
    play,
    read_all,
    run_monitor,
    samples_of,
    ventricular,
)
from tocsin_agent.lab.ec57.noise import read_record
from tocsin_agent.messages.alert import Phase, Priority
from tocsin_agent.monitor import PatientMonitor
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.scripted.script import (
    SCENARIOS,
    Disturbance,
    Event,
    Script,
    ScriptedRhythm,
    Segment,
)
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_dsp.errors import SignalError
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models

RATE = 360
HOP_S = 0.5  # quality is judged so often
HIGH = {"ventricular_fibrillation", "ventricular_tachycardia", "asystole"}
TWENTY_KILOBYTES = 20_480


def last_beat_before(result: Monitored, seconds: float) -> float:
    assert result.truth is not None
    return float(max(b for b in result.truth.beats if b < seconds * RATE)) / RATE


# -- what must be raised, and by when, from the moment that the definition holds


@pytest.mark.parametrize("leads", [("II",), ("II", "V1"), ("V1", "II", "V5")])
def test_asystole_is_raised_in_time_and_until_the_heart_beats(
    models: Models, leads: tuple[str, ...]
) -> None:
    result = play(make_script(CALM, asystole(60.0), CALM, leads=leads), models)
    began, raised = onset(result, "asystole")
    last = last_beat_before(result, 20.0)
    assert began == pytest.approx(last, abs=0.03)
    assert last + 4.0 < raised <= last + 4.0 + 1.0
    assert len(result.of("asystole")) == 1
    (end,) = result.of("asystole", Phase.END)
    assert 80.0 < end.detected_index / RATE < 80.0 + 0.4 + 4.0
    assert result.of("asystole")[0].priority is Priority.HIGH
    assert result.of("asystole")[0].heart_rate_bpm is None
    assert result.of("asystole", Phase.UPDATE)


@pytest.mark.parametrize(
    "disturbance",
    [
        Event(kind=Disturbance.MAINS, at_s=0.0, seconds=80.0, amplitude_mv=0.3),
        Event(kind=Disturbance.BASELINE_WANDER, at_s=0.0, seconds=80.0, amplitude_mv=0.3),
        Event(kind=Disturbance.MUSCLE, at_s=0.0, seconds=80.0, amplitude_mv=0.03),
    ],
)
def test_asystole_is_raised_under_mild_disturbance(models: Models, disturbance: Event) -> None:
    result = play(make_script(CALM, asystole(40.0), CALM, events=[disturbance]), models)
    _, raised = onset(result, "asystole")
    assert raised <= last_beat_before(result, 20.0) + 5.0
    assert len(result.of("asystole")) == 1


def test_asystole_with_p_waves_is_raised(models: Models) -> None:
    result = play(make_script(CALM, asystole(30.0, p_waves=True), CALM), models)
    assert onset(result, "asystole")[1] <= last_beat_before(result, 20.0) + 5.0
    assert len(result.of("asystole")) == 1


def test_asystole_is_raised_though_the_first_lead_shows_electrode_motion(
    records: Path, models: Models
) -> None:
    """Electrode motion as nstdb has it looks like beats; the other lead, at rest, shows none."""
    spec, samples = samples_of(make_script(Segment(seconds=40.0), asystole(20.0)))
    motion = read_record(str(records / "nstdb" / "em")).millivolts()[:, 0]
    start = round(40 * spec.rate_hz)
    moved = motion[90_000:][: len(samples) - start]
    samples[start:, 0] += moved - np.median(moved)
    result = run_monitor([SampleBlock(spec, 0, samples)], models)
    (raised,) = result.of("asystole")
    assert 43.5 <= raised.detected_index / spec.rate_hz <= 46.5
    assert len([b for b in result.beats if b.r_index > start + 500]) > 5


def test_a_heart_that_stands_still_from_the_start_is_asystole(models: Models) -> None:
    result = play(make_script(asystole(20.0), CALM), models)
    began, raised = onset(result, "asystole")
    assert (began, raised) == pytest.approx((0.0, 8.5), abs=0.7)


def test_a_pause_is_raised_in_time(models: Models) -> None:
    result = play(make_script(CALM, asystole(3.2), CALM), models)
    began, raised = onset(result, "pause")
    last = last_beat_before(result, 20.0)
    assert began == pytest.approx(last, abs=0.03)
    assert raised <= last + 2.5 + 1.0
    assert "asystole" not in result.codes


def test_bradycardia_is_raised_at_its_fifth_beat(models: Models) -> None:
    result = play(make_script(CALM, Segment(seconds=30.0, rate_bpm=32.0)), models)
    _, raised = onset(result, "extreme_bradycardia")
    assert result.truth is not None
    slow = [b / RATE for b in result.truth.beats if b >= 20 * RATE]
    # Four intervals below 40/min: the pause between the segments may be the first of them, and the
    # last one counts before it ends, as soon as the four cannot be faster any more.
    assert slow[2] < raised <= slow[4] + 1.0


def test_tachycardia_is_raised_at_its_eleventh_beat(models: Models) -> None:
    result = play(make_script(CALM, Segment(seconds=20.0, rate_bpm=165.0)), models)
    _, raised = onset(result, "extreme_tachycardia")
    assert result.truth is not None
    fast = [b / RATE for b in result.truth.beats if b >= 20 * RATE]
    assert fast[7] < raised <= fast[11] + 1.0


def run_of(result: Monitored, length: int) -> int:
    """Give the first sample of the first run of so many V in the truth."""
    assert result.truth is not None
    text = "".join(result.truth.labels)
    return int(result.truth.beats[text.index("V" * length)])


def test_ventricular_tachycardia_is_raised_at_its_fifth_beat(models: Models) -> None:
    vt = Segment(rhythm=ScriptedRhythm.VENTRICULAR_TACHYCARDIA, seconds=12.0, rate_bpm=160.0)
    result = play(make_script(CALM, vt, CALM), models)
    assert result.truth is not None
    true = [
        b / RATE for b, v in zip(result.truth.beats, result.truth.labels, strict=True) if v == "V"
    ]
    began, raised = onset(result, "ventricular_tachycardia")
    assert began == pytest.approx(true[0], abs=0.8)  # one beat more or less
    assert raised <= true[4] + 1.0 + 60.0 / 160.0
    assert result.of("ventricular_tachycardia")[0].priority is Priority.HIGH
    evidence = result.of("ventricular_tachycardia")[0].evidence
    assert max(evidence.probabilities.values()) > 0.3


@pytest.mark.parametrize("rate_bpm", [110.0, 150.0, 210.0])
def test_a_tachycardia_of_one_shape_is_raised_as_long_as_it_lasts(
    models: Models, rate_bpm: float
) -> None:
    vt = Segment(rhythm=ScriptedRhythm.VENTRICULAR_TACHYCARDIA, seconds=300.0, rate_bpm=rate_bpm)
    result = play(make_script(CALM, vt, Segment(seconds=60.0)), models)
    (alarm,) = result.of("ventricular_tachycardia")
    assert alarm.detected_index / RATE < 20.0 + 4.0
    (end,) = result.of("ventricular_tachycardia", Phase.END)
    assert 320.0 < end.detected_index / RATE < 320.0 + 5.0 + 3.0
    assert end.evidence.measured["held_beats"]
    lasting = [b.label for b in result.beats if 25 * RATE < b.r_index < 319 * RATE]
    assert lasting.count("V") >= 0.99 * len(lasting)
    assert {b.label for b in result.beats[:-1] if b.r_index > 323 * RATE} == {"N"}


@pytest.mark.parametrize("rate_bpm", [150.0, 180.0, 210.0])
def test_a_tachycardia_that_is_there_when_the_leads_are_attached_is_raised_high(
    models: Models, rate_bpm: float
) -> None:
    vt = Segment(rhythm=ScriptedRhythm.VENTRICULAR_TACHYCARDIA, seconds=60.0, rate_bpm=rate_bpm)
    raised = play(make_script(vt), models).alerts
    assert any(a.priority is Priority.HIGH and a.detected_index < 10 * RATE for a in raised)


@pytest.mark.parametrize("leads", [("II",), ("II", "V1"), ("V1", "II", "V5")])
@pytest.mark.parametrize(("hz", "mv"), [(4.0, 0.8), (5.0, 0.6), (6.5, 0.3)])
def test_ventricular_fibrillation_is_raised_in_time_and_alone(
    models: Models, leads: tuple[str, ...], hz: float, mv: float
) -> None:
    result = play(make_script(CALM, fibrillating(30.0, hz, mv), CALM, leads=leads), models)
    began, raised = onset(result, "ventricular_fibrillation")
    assert 18.0 <= began <= 22.0
    assert raised <= 20.0 + 4.0 + 2.0
    (alarm,) = result.of("ventricular_fibrillation")
    assert alarm.priority is Priority.HIGH
    assert alarm.heart_rate_bpm is None
    assert (alarm.evidence.model or "").startswith("vf@")
    assert alarm.evidence.probabilities["VF"] > 0.4
    assert result.of("ventricular_fibrillation", Phase.UPDATE)
    (end,) = result.of("ventricular_fibrillation", Phase.END)
    assert 50.0 < end.detected_index / RATE < 50.0 + 3.0 + 10.0 + 1.0
    lasting = [
        a.code
        for a in result.alerts
        if a.phase is Phase.ONSET
        and a.priority is Priority.HIGH
        and raised < a.detected_index / RATE < 50.0
    ]
    assert not lasting, "fibrillation suppresses what rests on beats"


def test_fibrillation_suppresses_the_tachycardia_that_led_to_it(models: Models) -> None:
    vt = Segment(rhythm=ScriptedRhythm.VENTRICULAR_TACHYCARDIA, seconds=12.0, rate_bpm=160.0)
    result = play(make_script(CALM, vt, fibrillating(), CALM, CALM), models)
    assert result.of("ventricular_tachycardia")
    _, raised = onset(result, "ventricular_fibrillation")
    assert 32.0 < raised <= 38.0
    (end,) = result.of("ventricular_tachycardia", Phase.END)
    assert end.detected_index / RATE <= raised + 0.1


@pytest.mark.parametrize("rate_bpm", [120.0, 150.0, 180.0, 200.0])
def test_a_tachycardia_with_complexes_is_no_fibrillation(models: Models, rate_bpm: float) -> None:
    vt = Segment(rhythm=ScriptedRhythm.VENTRICULAR_TACHYCARDIA, seconds=20.0, rate_bpm=rate_bpm)
    result = play(make_script(CALM, vt, CALM), models)
    assert "ventricular_fibrillation" not in result.codes
    assert "ventricular_tachycardia" in result.codes


def test_asystole_and_a_lead_that_is_off_are_no_fibrillation(models: Models) -> None:
    fine = play(make_script(CALM, fibrillating(20.0, 5.0, 0.15), CALM), models)
    assert fine.codes & HIGH == {"ventricular_fibrillation"}
    still = play(make_script(CALM, asystole(20.0), CALM), models)
    assert still.codes & HIGH == {"asystole"}
    off = Event(kind=Disturbance.LEAD_FLAT, at_s=20.0, seconds=20.0)
    loose = play(make_script(Segment(seconds=60.0), events=[off]), models)
    assert not loose.codes & HIGH
    assert "lead_off" in loose.codes


@pytest.mark.parametrize(
    ("kind", "amplitude_mv"),
    [
        (Disturbance.MUSCLE, 0.3),
        (Disturbance.MUSCLE, 3.0),
        (Disturbance.MAINS, 1.0),
        (Disturbance.MOTION, 1.5),
        (Disturbance.BASELINE_WANDER, 2.0),
        (Disturbance.SATURATION, 1.0),
        (Disturbance.LEAD_RAIL, 1.0),
        (Disturbance.GAP, 1.0),
    ],
)
def test_no_disturbance_is_fibrillation(
    models: Models, kind: Disturbance, amplitude_mv: float
) -> None:
    event = Event(kind=kind, at_s=20.0, seconds=20.0, amplitude_mv=amplitude_mv)
    result = play(make_script(Segment(seconds=60.0), events=[event]), models)
    assert "ventricular_fibrillation" not in result.codes


@pytest.mark.parametrize("scale_mv", [1e-3, 1.0, 50.0, 4000.0])
def test_noise_alone_is_no_fibrillation(models: Models, scale_mv: float) -> None:
    spec, samples = samples_of(make_script(Segment(seconds=60.0)))
    noise = np.random.default_rng(2).normal(0.0, scale_mv, samples.shape)
    assert "ventricular_fibrillation" not in run_monitor(one_block(spec, noise), models).codes


def test_atrial_fibrillation_is_raised_in_time_and_once(models: Models) -> None:
    result = play(
        make_script(Segment(seconds=60.0), ATRIAL_FIBRILLATION, Segment(seconds=120.0)), models
    )
    (alarm,) = result.of("atrial_fibrillation")
    assert alarm.priority is Priority.MEDIUM
    assert alarm.detected_index / RATE <= 60.0 + 30.0 + 10.0
    assert 50.0 <= alarm.onset_index / RATE <= 75.0
    assert alarm.evidence.probabilities["AF"] >= 0.7
    assert (alarm.evidence.model or "").startswith("af@")
    (end,) = result.of("atrial_fibrillation", Phase.END)
    assert 180.0 < end.detected_index / RATE < 180.0 + 30.0 + 60.0 + 5.0


@pytest.mark.parametrize("pattern", ["N", "NNNNNV", "NV", "NNV", "NNNNNNNNS"])
def test_a_heart_in_sinus_rhythm_is_not_in_atrial_fibrillation(
    models: Models, pattern: str
) -> None:
    result = play(make_script(Segment(seconds=180.0, pattern=pattern)), models)
    assert "atrial_fibrillation" not in result.codes


def test_a_run_of_three_is_a_run_and_no_tachycardia(models: Models) -> None:
    result = play(ventricular("NNNNNNNNVVV"), models)
    began, raised = onset(result, "ventricular_run")
    first = run_of(result, 3) / RATE
    assert began == pytest.approx(first, abs=0.5)
    assert raised <= first + 2 * 0.4 + 1.0 + 0.4
    assert "ventricular_tachycardia" not in result.codes


def test_a_couplet_is_raised(models: Models) -> None:
    result = play(ventricular("NNNNNNNVV"), models)
    began, raised = onset(result, "couplet")
    assert began == pytest.approx(run_of(result, 2) / RATE, abs=0.05)
    assert raised <= began + 5.0
    assert result.codes <= {"couplet", "frequent_ventricular"}


def test_bigeminy_is_raised(models: Models) -> None:
    result = play(ventricular("NV"), models)
    began, raised = onset(result, "bigeminy")
    assert 20.0 <= began <= 24.0
    assert raised <= began + 4 * 2.0 + 5.0
    assert "ventricular_tachycardia" not in result.codes


def lead_fault(kind: Disturbance, *leads: str, amplitude_mv: float = 0.2) -> Script:
    fault = Event(kind=kind, at_s=20.0, seconds=10.0, leads=leads, amplitude_mv=amplitude_mv)
    return make_script(Segment(seconds=60.0), events=[fault])


@pytest.mark.parametrize("kind", [Disturbance.LEAD_FLAT, Disturbance.LEAD_MISSING])
def test_one_lead_off_is_low_and_the_other_is_used(models: Models, kind: Disturbance) -> None:
    result = play(lead_fault(kind, "II"), models)
    began, raised = onset(result, "lead_off")
    assert began == pytest.approx(20.0, abs=HOP_S)
    assert raised <= 20.0 + 1.5 + 2.0
    (alert,) = result.of("lead_off")
    assert alert.priority is Priority.LOW
    assert alert.evidence.measured["lead"] == "II"
    assert result.codes == {"lead_off"}
    used = {b.lead for b in result.beats if 22 * RATE < b.r_index < 29 * RATE}
    assert used == {"V1"}
    assert result.beats[-1].lead == "II"
    assert result.truth is not None
    assert len(result.beats) >= len(result.truth.beats) - 3


def test_losing_every_lead_is_medium_and_no_asystole(models: Models) -> None:
    result = play(lead_fault(Disturbance.LEAD_MISSING), models)
    assert {a.priority for a in result.of("lead_off")} == {Priority.MEDIUM}
    assert len(result.of("lead_off")) == 2
    assert result.codes == {"lead_off"}
    assert all(a.detected_index / RATE < 34.0 for a in result.of("lead_off", Phase.END))


def test_a_railed_lead_is_saturation(models: Models) -> None:
    result = play(lead_fault(Disturbance.LEAD_RAIL, "II"), models)
    assert onset(result, "saturation")[1] <= 20.0 + 1.5 + 2.0
    assert result.codes == {"saturation"}


def test_noise_that_hides_the_heart_is_raised(models: Models) -> None:
    result = play(lead_fault(Disturbance.MUSCLE, amplitude_mv=3.0), models)
    assert onset(result, "signal_unusable")[1] <= 20.0 + 5.0 + 2.0
    assert "asystole" not in result.codes


@pytest.mark.parametrize("wander_mv", [0.2, 0.8, 1.5])
def test_a_wandering_baseline_does_not_suppress_asystole(models: Models, wander_mv: float) -> None:
    wander = Event(
        kind=Disturbance.BASELINE_WANDER, at_s=0.01, seconds=79.0, amplitude_mv=wander_mv
    )
    result = play(make_script(CALM, asystole(40.0), CALM, events=[wander], leads=("II",)), models)
    assert len(result.of("asystole")) == 1
    assert onset(result, "asystole")[1] <= last_beat_before(result, 20.5) + 4.0 + 1.0
    assert result.of("asystole", Phase.END)[0].detected_index / RATE > 60.0


def test_the_end_of_a_recording_decides_its_last_beats(models: Models) -> None:
    result = play(make_script(Segment(seconds=30.0)), models)
    assert result.truth is not None
    assert abs(result.beats[-1].r_index - result.truth.beats[-1]) < 0.05 * RATE


def test_nothing_is_raised_in_ten_calm_minutes(models: Models) -> None:
    result = play(make_script(Segment(seconds=600.0)), models)
    assert result.codes == set()
    assert result.truth is not None
    assert len(result.truth.beats) - 1 <= len(result.beats) <= len(result.truth.beats)
    assert {b.label for b in result.beats} == {"N"}


def test_nothing_is_raised_for_wander_mains_and_mild_noise(models: Models) -> None:
    result = play(SCENARIOS["noise"], models)
    early = {a.code for a in result.alerts if a.onset_index < 120 * RATE}
    assert early == set()


# -- input that is not as it should be -----------------------------------------------------------


def test_a_block_of_another_stream_is_refused(models: Models) -> None:
    spec, samples = samples_of(make_script())
    monitor = PatientMonitor(spec, None, models)
    other = StreamSpec("other", 250.0, spec.leads)
    with pytest.raises(SignalError, match="other"):
        monitor.push(SampleBlock(other, 0, samples))


def test_an_inverted_lead_has_the_same_beats(models: Models) -> None:
    spec, samples = samples_of(make_script(Segment(seconds=60.0)))
    upright = run_monitor(one_block(spec, samples), models)
    turned = run_monitor(one_block(spec, -samples), models)
    assert [b.r_index for b in turned.beats] == [b.r_index for b in upright.beats]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308, 0.0, -0.0, 1e-300])
def test_no_value_harms(models: Models, value: float) -> None:
    spec, samples = samples_of(make_script(Segment(seconds=30.0)))
    samples[10 * RATE : 15 * RATE] = value
    result = run_monitor(one_block(spec, samples), models)
    late = [b for b in result.beats if b.r_index > 20 * RATE]
    assert 10 <= len(late) <= 14
    assert "asystole" not in result.codes


def test_a_repeated_block_changes_nothing(models: Models) -> None:
    blocks = read_all(SyntheticSource(make_script(Segment(seconds=30.0)), block_s=1.0))
    twice = [b for block in blocks for b in (block, block)]
    assert run_monitor(twice, models) == run_monitor(blocks, models)


@pytest.fixture(scope="module")
def everything(models: Models) -> Monitored:
    return play(SCENARIOS["all_alarms"], models)


def test_the_scripted_conditions_are_all_raised(everything: Monitored) -> None:
    assert {
        "couplet", "bigeminy", "ventricular_run", "ventricular_tachycardia", "asystole", "pause",
        "extreme_bradycardia", "extreme_tachycardia", "lead_off", "frequent_ventricular",
    } <= everything.codes  # fmt: skip


def test_limits_reach_the_rules_and_the_alert(models: Models) -> None:
    result = play(make_script(CALM, asystole(10.0)), models, Limits(asystole_s=6.0))
    (alert,) = result.of("asystole")
    assert alert.evidence.limits == {"asystole_s": 6.0}
    assert alert.detected_index / RATE > last_beat_before(result, 20.0) + 6.0


def test_the_excerpt_of_a_real_patient_raises_alarms_for_its_ectopy(models: Models) -> None:
    result = run_monitor(read_all(open_source("excerpt", block_s=60.0)), models)
    assert result.codes & {"couplet", "ventricular_run", "bigeminy", "frequent_ventricular"}
    assert result.codes.isdisjoint({"asystole", "extreme_bradycardia", "model_failed"})

"""Sources that are lost, clocks that jump, models that are missing or fail."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

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
from tocsin_agent.messages.alert import Phase
from tocsin_agent.monitor import PatientMonitor
from tocsin_agent.monitor.labels.corrections import FEWEST_INTERVALS
from tocsin_agent.sources.scripted.script import Segment
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import AF as AF_MODEL
from tocsin_models import BEATS, LABELS, Model, Models
from tocsin_models.errors import ModelError, ModelFault

RATE = 360


def test_without_its_model_fibrillation_is_reported_as_not_monitored(models: Models) -> None:
    result = play(make_script(CALM, fibrillating(), CALM, asystole(10.0)), models._replace(vf=None))
    (failed,) = result.of("model_failed")
    assert "fibrillation" in failed.text
    assert failed.evidence.measured["model"] == "vf"
    assert "asystole" in result.codes
    assert {b.label for b in result.beats} & {"N"}


def test_without_models_that_is_reported_and_asystole_still_raised() -> None:
    result = play(make_script(CALM, asystole(10.0), CALM), Models())
    assert {"model_failed", "asystole"} <= result.codes
    assert onset(result, "model_failed")[1] <= 1.0
    assert {b.label for b in result.beats} == {"Q"}
    assert all(a.evidence.model is None for a in result.alerts)


class _Fails(Model):
    """A model that answers nonsense from its n-th beat on."""

    def __init__(self, after: int) -> None:
        self.name, self.sha256, self.contract = "fails", "0" * 64, BEATS
        self._left = after

    def classify(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        n = len(inputs[0])
        if self._left < n:
            raise ModelError(ModelFault.OUTPUT, "nonsense")
        self._left -= n
        answer = np.zeros((n, len(LABELS)), np.float32)
        answer[:, 0] = 1.0
        return answer


def test_a_model_that_fails_on_the_way_is_reported_once_and_rules_continue(models: Models) -> None:
    script = make_script(CALM, asystole(10.0), CALM)
    blocks = read_all(SyntheticSource(script, block_s=1.0))
    result = run_monitor(blocks, models._replace(beats=_Fails(after=10)))
    assert "".join(b.label for b in result.beats).lstrip("N").strip("Q") == ""
    (failed,) = result.of("model_failed")
    assert failed.evidence.measured["reason"] == "output"
    assert result.of("asystole")


@pytest.mark.parametrize("fallen_back", [True, False])
@pytest.mark.parametrize("block_s", [0.25, 7.0, 600.0])
def test_a_model_fails_at_the_same_beat_in_any_cutting(
    models: Models, block_s: float, fallen_back: bool
) -> None:
    def result(seconds: float) -> Monitored:
        fails = _Fails(after=30)
        fails.fallback = models.beats if fallen_back else None
        blocks = read_all(SyntheticSource(ventricular("NNNNNNNVV"), block_s=seconds))
        return run_monitor(blocks, models._replace(beats=fails))

    assert result(block_s) == result(1.0)


def test_what_a_failed_model_falls_back_on_labels_the_very_beat(models: Models) -> None:
    segment = Segment(seconds=20.0, pattern="NNNNNNNVV")
    script = make_script(CALM, segment, CALM, leads=("II",))  # one answer a beat
    right = play(script, models)
    fails = _Fails(after=12)
    fails.fallback = models.beats
    result = play(script, models._replace(beats=fails))
    assert result.beats[12:] == right.beats[12:]
    (failed,) = result.of("model_failed")
    (over,) = result.of("model_failed", Phase.END)
    assert failed.detected_index == right.beats[12].decided_index
    assert failed.evidence.measured["failed"] == fails.id
    assert models.beats is not None
    assert models.beats.id in failed.text
    assert over.detected_index > failed.detected_index
    (couplet,) = result.of("couplet")
    assert couplet.evidence.model == models.beats.id


def test_a_model_of_atrial_fibrillation_that_fails_gives_way_in_its_place(models: Models) -> None:
    class Fails(Model):
        def __init__(self) -> None:
            self.name, self.sha256, self.contract, self.fallback = "af", "0" * 64, AF_MODEL, None

        def classify(self, *_: NDArray[Any]) -> NDArray[np.float32]:
            raise ModelError(ModelFault.OUTPUT, "nonsense")

    script = make_script(Segment(seconds=60.0), ATRIAL_FIBRILLATION, Segment(seconds=30.0))
    blocks = read_all(SyntheticSource(script, block_s=10.0))
    right = run_monitor(blocks, models)
    fails = Fails()
    alone = run_monitor(blocks, models._replace(af=fails))
    (failed,) = alone.of("model_failed")
    assert "atrial fibrillation is not looked for" in failed.text
    assert "atrial_fibrillation" not in alone.codes
    first = right.of("atrial_fibrillation")[0].onset_index
    sooner = [b for b in right.beats if b.r_index < first]
    assert alone.beats[: len(sooner)] == sooner
    fails.fallback = models.af
    taken_over = run_monitor(blocks, models._replace(af=fails))
    (alarm,) = taken_over.of("atrial_fibrillation")
    assert alarm == right.of("atrial_fibrillation")[0]


class _Early(Model):
    """A model that calls every beat S, and N if it is not."""

    def __init__(self) -> None:
        self.name, self.sha256, self.contract = "early", "0" * 64, BEATS

    def classify(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        return np.tile(np.array([0.3, 0.6, 0.1, 0, 0], np.float32), (len(inputs[0]), 1))


@pytest.mark.parametrize("block_s", [0.25, 7.0, 600.0])
def test_in_atrial_fibrillation_no_beat_is_early(models: Models, block_s: float) -> None:
    script = make_script(Segment(seconds=60.0), ATRIAL_FIBRILLATION, Segment(seconds=120.0))

    def result(asked: Models) -> str:
        blocks = read_all(SyntheticSource(script, block_s=block_s))
        beats = run_monitor(blocks, asked._replace(beats=_Early())).beats
        assert {round(b.probability, 3) for b in beats if b.label == "N"} <= {0.9}
        return "".join(b.label for b in beats[FEWEST_INTERVALS:])  # the first are never early

    runs = ["".join(run) for _, run in groupby(result(models))]
    assert [run[0] for run in runs] == ["S", "N", "S"], "after half a minute of it, for a minute on"
    assert len(runs[0]) > 60
    assert set(result(models._replace(af=None))) == {"S"}


def test_other_models_are_asked_from_the_next_block_on(models: Models) -> None:
    blocks = read_all(SyntheticSource(ventricular("NNNNNNNVV"), block_s=10.0))
    monitor = PatientMonitor(blocks[0].spec, None, models._replace(beats=None))
    reports = [monitor.push(block) for block in blocks[:3]]
    changed = monitor.use(models)
    later = [monitor.push(block) for block in blocks[3:]]
    assert {b.label for r in reports for b in r.beats} == {"Q"}
    (over,) = changed.alerts
    assert (over.code, over.phase) == ("model_failed", Phase.END)
    assert over.detected_index <= blocks[3].start_index + RATE
    assert "another model" in over.text
    raised = [a for r in later for a in r.alerts]
    assert models.beats is not None
    assert {a.evidence.model for a in raised if a.code == "couplet"} == {models.beats.id}
    assert "model_failed" not in {a.code for a in raised}


def test_a_clock_that_jumps_back_is_reported_and_nothing_is_lost(models: Models) -> None:
    spec, samples = samples_of(make_script(Segment(seconds=60.0)))
    cut = 30 * RATE
    blocks = [
        SampleBlock(spec, 1_000_000, samples[:cut]),
        SampleBlock(spec, 0, samples[cut:]),
    ]
    result = run_monitor(blocks, models)
    assert result.codes == {"clock_jump"}
    assert result.of("clock_jump")[0].evidence.measured["seconds"] == pytest.approx(
        (1_000_000 + cut) / RATE, abs=0.001
    )
    whole = run_monitor(one_block(spec, samples), models)
    assert len(result.beats) == len(whole.beats)
    assert result.beats[-1].r_index == pytest.approx(whole.beats[-1].r_index - cut, abs=2)


def test_a_long_gap_is_bridged_by_nothing(models: Models) -> None:
    spec, samples = samples_of(make_script(Segment(seconds=60.0)))
    far = 10 * 3600 * RATE
    blocks = [
        SampleBlock(spec, 0, samples[: 30 * RATE]),
        SampleBlock(spec, far, samples[30 * RATE :]),
    ]
    result = run_monitor(blocks, models)
    assert result.codes == {"source_lost"}  # nobody was monitored meanwhile
    begun, over = result.of("source_lost"), result.of("source_lost", Phase.END)
    assert begun[0].onset_index == pytest.approx(30 * RATE, abs=0.1 * RATE)
    assert over[0].detected_index == pytest.approx(far, abs=0.1 * RATE)
    after = [b.r_index for b in result.beats if b.r_index >= far]
    assert len(after) >= 34


def test_a_lost_source_is_raised_once_and_ends_when_samples_arrive(models: Models) -> None:
    spec, samples = samples_of(make_script())
    monitor = PatientMonitor(spec, None, models)
    monitor.push(SampleBlock(spec, 0, samples[:3600]))
    (lost,) = monitor.source_lost().alerts
    assert (lost.code, lost.phase) == ("source_lost", Phase.ONSET)
    assert lost.evidence.model is None
    assert monitor.source_lost().alerts == []
    assert monitor.push(SampleBlock(spec, 3600, samples[:0])).alerts == []
    (end,) = monitor.push(SampleBlock(spec, 3600, samples[3600:3700])).alerts
    assert (end.code, end.phase, end.alert_id) == ("source_lost", Phase.END, lost.alert_id)


def test_a_source_lost_before_its_first_sample_is_raised(models: Models) -> None:
    spec, _ = samples_of(make_script())
    (lost,) = PatientMonitor(spec, None, models).source_lost().alerts
    assert lost.strip is None
    assert lost.heart_rate_bpm is None


def test_pressure_of_the_outbox_is_one_alarm_until_60_s_after_the_last_report() -> None:
    spec, samples = samples_of(make_script(Segment(seconds=200.0)))
    monitor = PatientMonitor(spec)
    alerts = []
    for second in range(200):
        part = samples[second * RATE : (second + 1) * RATE]
        alerts += monitor.push(SampleBlock(spec, second * RATE, part)).alerts
        if second in {20, 40, 70}:
            alerts += monitor.outbox_pressure(9, 3, 10).alerts
    began, ended = (alert for alert in alerts if alert.code == "outbox_pressure")
    assert (began.phase, ended.phase) == (Phase.ONSET, Phase.END)
    assert ended.alert_id == began.alert_id
    assert began.evidence.measured == {"pending": 9.0, "dropped": 3.0}
    assert began.evidence.limits == {"max_pending": 10.0}
    assert ended.detected_index / RATE == pytest.approx(71.0 + 60.0, abs=1.0)


def test_what_the_device_reports_is_raised_and_ends_when_it_says_so(models: Models) -> None:
    monitor = PatientMonitor(StreamSpec("device", 250.0, ("II",)), None, models)
    measured: dict[str, float | str] = {"percent": 4.0, "millivolts": 3300.0}
    (low,) = monitor.device_event("battery_low", "low", "", measured, over=False).alerts
    assert low.text == "The battery of the device is low (4 %): charge or replace it."
    assert monitor.device_event("battery_low", "low", "", measured, over=False).alerts == []
    (end,) = monitor.device_event("battery_low", "charged", "", measured, over=True).alerts
    assert (end.phase, end.alert_id) == (Phase.END, low.alert_id)
    (call,) = monitor.device_event("patient_call", "the button", "", {}, over=False).alerts
    assert (str(call.priority), call.text[:18]) == ("medium", "The patient calls:")


def test_another_reason_of_a_lost_source_is_an_update(models: Models) -> None:
    monitor = PatientMonitor(StreamSpec("device", 250.0, ("II",)), None, models)
    texts = []
    for reason in (None, "no permission", "no permission", "in use by gpsd"):
        texts += [(a.phase, a.text) for a in monitor.source_lost(reason).alerts]
    assert texts == [
        (Phase.ONSET, "No ECG arrives from the device: check it and its link."),
        (Phase.UPDATE, "No ECG arrives from the device: no permission."),
        (Phase.UPDATE, "No ECG arrives from the device: in use by gpsd."),
    ]

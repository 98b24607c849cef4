"""What an alert states: id, evidence, text, strip, size."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from support.patients import (
    CALM,
    Monitored,
    asystole,
    make_script,
    one_block,
    play,
    run_monitor,
    samples_of,
)
from tocsin_agent.messages.alert import Phase, Priority, encode_alert
from tocsin_agent.monitor import ALARMS
from tocsin_agent.runtime.clock import StreamClock
from tocsin_agent.runtime.document import Identity, compose
from tocsin_agent.sources.scripted.script import SCENARIOS
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_models import Models

RATE = 360
TWENTY_KILOBYTES = 20_480


@pytest.fixture(scope="module")
def everything(models: Models) -> Monitored:
    return play(SCENARIOS["all_alarms"], models)


def test_ids_and_sequences_are_unique_and_in_order(everything: Monitored) -> None:
    by_id: dict[str, list[Phase]] = {}
    for alert in everything.alerts:
        phases = by_id.setdefault(alert.alert_id, [])
        assert alert.sequence == len(phases) + 1
        phases.append(alert.phase)
    for phases in by_id.values():
        assert phases[0] is Phase.ONSET
        assert phases[-1] is Phase.END
        assert set(phases[1:-1]) <= {Phase.UPDATE}


def test_alerts_come_in_the_order_of_detection(everything: Monitored) -> None:
    times = [a.detected_index for a in everything.alerts]
    assert times == sorted(times)
    assert all(a.onset_index <= a.detected_index for a in everything.alerts)


def test_ids_are_the_same_in_every_run_and_differ_between_streams(
    everything: Monitored, models: Models
) -> None:
    again = play(SCENARIOS["all_alarms"], models)
    assert [a.alert_id for a in again.alerts] == [a.alert_id for a in everything.alerts]


def test_evidence_names_the_model_that_the_alarm_rests_on_and_no_other(
    everything: Monitored, models: Models
) -> None:
    ids = {model.name: model.id for model in models if model is not None}
    for alert in everything.alerts:
        support = ALARMS[alert.code].model
        verified = {ids["alarms"]} if alert.code == "ventricular_tachycardia" else set()
        rests_on = {ids[support.task], *verified} if support else {None}
        assert alert.evidence.model in rests_on, alert.code
        labels = {support.label, "VT"} if support else set()
        assert set(alert.evidence.probabilities) <= labels
    without = {"asystole", "pause", "extreme_bradycardia", "extreme_tachycardia", "lead_off"}
    assert without | {"couplet", "ventricular_fibrillation"} <= everything.codes


def test_a_strip_is_the_signal_that_led_to_the_alert(models: Models) -> None:
    script = make_script(CALM, asystole(10.0), CALM, rate_hz=250.0)
    spec, samples = samples_of(script)
    result = run_monitor(one_block(spec, samples), models)
    (alert,) = result.of("asystole")
    assert alert.strip is not None
    strip = alert.strip.decode()
    assert alert.strip.leads == ("II", "V1")
    assert strip.shape == (2500, 2)
    source = samples[alert.strip.start_index : alert.strip.start_index + 2500]
    # Only what lies above 30 Hz, and the converter's steps, are not in the strip.
    quiet = np.sqrt(np.mean((strip - source) ** 2))
    assert quiet < 0.03
    assert np.abs(strip).max() > 0.5


def test_every_phase_of_high_priority_carries_a_strip_of_its_moment(everything: Monitored) -> None:
    for alert in everything.alerts:
        high = alert.priority is Priority.HIGH
        assert (alert.strip is not None) is (high or alert.phase is Phase.ONSET)
        if alert.strip is not None:
            stop = alert.strip.start_index + 10 * RATE
            assert abs(stop - alert.detected_index) <= 0.1 * RATE


def test_the_beats_of_a_strip_are_those_that_were_reported(everything: Monitored) -> None:
    reported = {(b.r_index, b.label) for b in everything.beats}
    labelled = [(a.strip, b) for a in everything.alerts if a.strip for b in a.strip.beats]
    assert len(labelled) > 50
    for strip, beat in labelled:
        at = strip.start_index + beat.row * RATE / strip.rate_hz
        assert any((round(at) + off, beat.label) in reported for off in (-1, 0, 1))
    onsets = [a for a in everything.alerts if a.code == "ventricular_run"]
    assert any("V" in {b.label for b in a.strip.beats} for a in onsets if a.strip)


def test_every_alert_fits_the_smallest_broker(everything: Monitored, models: Models) -> None:
    script = make_script(CALM, asystole(10.0), leads=("II", "V1", "V2", "V3", "V4", "V5"))
    spec = SyntheticSource(script).spec
    clock = StreamClock(spec.rate_hz, datetime(2026, 3, 1, tzinfo=UTC))
    identity = Identity(
        site="s" * 64, device="d" * 64, patient="p" * 64, location="l" * 200
    )  # fmt: skip
    alerts = [*everything.alerts, *play(script, models).alerts]
    sizes = [
        len(encode_alert(compose(a, clock=clock, identity=identity, spec=spec))) for a in alerts
    ]
    assert max(sizes) < TWENTY_KILOBYTES
    assert max(sizes) > 10_000  # the strips are in them


def test_texts_are_one_plain_sentence_each(everything: Monitored) -> None:
    for alert in everything.alerts:
        assert alert.text.endswith(".")
        assert "{" not in alert.text
        assert alert.evidence.rule
    assert all(a.heart_rate_bpm is None or 20 < a.heart_rate_bpm < 300 for a in everything.alerts)

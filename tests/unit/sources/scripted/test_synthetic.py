from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import EndOfStream
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.scripted.script import (
    SCENARIOS,
    Disturbance,
    Event,
    Script,
    ScriptedRhythm,
    Segment,
    load_script,
    scenario,
)
from tocsin_agent.sources.scripted.synthetic import (
    RANGE_MV,
    STEP_MV,
    ScriptedTruth,
    SyntheticSource,
)
from tocsin_dsp.signal import FloatArray


def script(*segments: Segment, **more: object) -> Script:
    return msgspec.structs.replace(Script(name="test", segments=segments), **more)


def play(what: Script) -> tuple[FloatArray, ScriptedTruth]:
    """Return all samples, NaN where lost, and the truth."""
    source = SyntheticSource(what, block_s=10.0)
    samples = np.full((what.samples, len(what.leads)), np.nan)
    with source:
        while True:
            try:
                block = source.read(0)
            except EndOfStream:
                return samples, source.truth()
            assert block is not None
            samples[block.start_index : block.stop_index] = block.samples_mv


def intervals(truth: ScriptedTruth, rate_hz: float = 360.0) -> FloatArray:
    return np.diff(truth.beats) / rate_hz


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_plays_and_is_synthetic(name: str) -> None:
    with open_source(f"synthetic:{name}", block_s=30.0) as source:
        assert source.spec.synthetic
        assert source.spec.stream_id.startswith(f"synthetic/{name}-")
        assert source.spec.range_mv == RANGE_MV
    samples, truth = play(scenario(name))
    assert np.nanmin(samples) >= RANGE_MV[0]
    assert np.nanmax(samples) <= RANGE_MV[1]
    assert (np.diff(truth.beats) > 0).all()
    assert len(truth.labels) == len(truth.beats)
    length_s = sum(segment.seconds for segment in scenario(name).segments)
    for event in scenario(name).events:
        assert event.at_s + event.seconds <= length_s, "an event after the end is no event"


def test_all_alarms_has_something_for_each() -> None:
    _, truth = play(scenario("all_alarms"))
    labels = "".join(truth.labels)
    for run in ("NVVN", "NVNVNV", "NNVNNV", "NVVVVN", "V" * 30):
        assert run in labels
    rhythms = {episode.kind for episode in truth.rhythms}
    assert rhythms == {kind.value for kind in ScriptedRhythm}
    assert (intervals(truth) > 2.5).any()


def test_the_samples_lie_on_the_grid_of_a_converter() -> None:
    samples, _ = play(script(Segment(seconds=20)))
    codes = samples / STEP_MV
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-6)


def test_the_same_script_is_the_same_patient_and_another_seed_another() -> None:
    one, _ = play(script(Segment(seconds=20)))
    again, _ = play(script(Segment(seconds=20)))
    other, _ = play(script(Segment(seconds=20), seed=2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (
        script(Segment(seconds=20)).fingerprint != script(Segment(seconds=20), seed=2).fingerprint
    )


def test_the_truth_marks_the_r_peaks() -> None:
    samples, truth = play(script(Segment(seconds=60), noise_mv=0.0))
    assert len(truth.beats) == pytest.approx(75, abs=2)
    for beat in truth.beats[1:-1].tolist():
        near = samples[beat - 40 : beat + 40, 0]
        assert abs(int(near.argmax()) - 40) <= 2
        assert near.max() > 0.8


def test_ectopic_beats_are_wide_and_come_early() -> None:
    samples, truth = play(script(Segment(seconds=60, pattern="NNNV"), noise_mv=0.0))
    rr = intervals(truth)
    early = [rr[i] for i in range(len(rr)) if truth.labels[i + 1] == "V"]
    late = [rr[i] for i in range(len(rr)) if truth.labels[i] == "V"]
    assert max(early) < 0.6
    assert min(late) > 0.9

    def width(beat: int) -> int:
        piece = np.abs(samples[beat - 60 : beat + 60, 0])
        return int((piece > 0.5 * piece.max()).sum())

    widths = {
        label: np.mean(
            [
                width(b)
                for b, known in zip(truth.beats, truth.labels, strict=True)
                if known == label and 60 < b < len(samples) - 60
            ]
        )
        for label in "NV"
    }
    assert widths["V"] > 2 * widths["N"]


@pytest.mark.parametrize("rate_bpm", [32.0, 75.0, 165.0])
def test_the_rate_is_that_of_the_segment(rate_bpm: float) -> None:
    _, truth = play(script(Segment(seconds=60, rate_bpm=rate_bpm)))
    assert 60.0 / intervals(truth).mean() == pytest.approx(rate_bpm, rel=0.03)


def test_a_dropped_beat_is_a_pause() -> None:
    _, truth = play(script(Segment(seconds=60, pattern="NNNNNNNNN---")))
    assert intervals(truth).max() == pytest.approx(3.2, rel=0.1)
    assert set(truth.labels) == {"N"}


def test_fibrillation_has_no_beats_and_its_power_around_its_frequency() -> None:
    vf = Segment(seconds=30, rhythm=ScriptedRhythm.VENTRICULAR_FIBRILLATION, frequency_hz=5.0)
    samples, truth = play(script(vf))
    assert len(truth.beats) == 0
    for lead in samples.T:
        power = np.abs(np.fft.rfft(lead)) ** 2
        frequency_hz = np.fft.rfftfreq(len(lead), 1 / 360)
        band = power[(frequency_hz > 3.0) & (frequency_hz < 7.5)].sum()
        assert band > 0.9 * power[1:].sum()
        assert np.abs(lead).max() > 0.15


def test_atrial_fibrillation_is_irregular_and_labelled_normal() -> None:
    af = Segment(seconds=120, rhythm=ScriptedRhythm.ATRIAL_FIBRILLATION, rate_bpm=100.0)
    _, truth = play(script(af))
    rr = intervals(truth)
    assert set(truth.labels) == {"N"}
    assert rr.std() / rr.mean() > 0.15
    assert abs(np.corrcoef(rr[:-1], rr[1:])[0, 1]) < 0.25


@pytest.mark.parametrize("p_waves", [False, True])
def test_asystole_is_flat_but_not_still(p_waves: bool) -> None:
    stop = Segment(seconds=10, rhythm=ScriptedRhythm.ASYSTOLE, p_waves=p_waves)
    samples, truth = play(script(Segment(seconds=5), stop))
    silent = samples[6 * 360 :, 0]
    assert (truth.beats < 5 * 360).all()
    assert 0.0 < silent.std() < 0.06
    assert (silent.max() > 0.08) == p_waves


def one_event(kind: Disturbance, **more: object) -> tuple[FloatArray, FloatArray]:
    """Return what the event did to lead II, inside and outside of it."""
    event = msgspec.structs.replace(Event(kind=kind, at_s=12.0, seconds=6.0, leads=("II",)), **more)
    calm, _ = play(script(Segment(seconds=30)))
    samples, truth = play(script(Segment(seconds=30), events=(event,)))
    assert truth.events[0][:3] == (kind.value, 4320, 6480)
    np.testing.assert_array_equal(samples[:, 1], calm[:, 1])
    np.testing.assert_array_equal(samples[:4320], calm[:4320])
    np.testing.assert_array_equal(samples[6480:], calm[6480:])
    return samples[4320:6480, 0], calm[4320:6480, 0]


def test_lead_faults_are_what_they_are_called() -> None:
    assert (one_event(Disturbance.LEAD_FLAT)[0] == 0.0).all()
    assert np.isnan(one_event(Disturbance.LEAD_MISSING)[0]).all()
    assert (one_event(Disturbance.LEAD_RAIL)[0] == RANGE_MV[1]).all()
    clipped = one_event(Disturbance.SATURATION)[0]
    assert (clipped == RANGE_MV[0]).any()
    assert (clipped == RANGE_MV[1]).any()


@pytest.mark.parametrize(
    ("kind", "low_hz", "high_hz"),
    [
        (Disturbance.BASELINE_WANDER, 0.0, 1.0),
        (Disturbance.MAINS, 49.0, 51.0),
        (Disturbance.MOTION, 0.0, 8.0),
        (Disturbance.MUSCLE, 20.0, 180.0),
    ],
)
def test_noise_is_of_its_kind(kind: Disturbance, low_hz: float, high_hz: float) -> None:
    noisy, calm = one_event(kind, amplitude_mv=0.5)
    added = noisy - calm
    power = np.abs(np.fft.rfft(added)) ** 2
    frequency_hz = np.fft.rfftfreq(len(added), 1 / 360)
    inside = power[(frequency_hz >= low_hz) & (frequency_hz <= high_hz)].sum()
    assert inside > 0.75 * power.sum()
    assert 0.1 < added.std() < 1.0


def test_a_gap_takes_samples_and_no_more() -> None:
    event = Event(kind=Disturbance.GAP, at_s=9.0, seconds=3.5)
    calm, _ = play(script(Segment(seconds=30)))
    samples, _ = play(script(Segment(seconds=30), events=(event,)))
    assert np.isnan(samples[3240:4500]).all()
    there = np.r_[0:3240, 4500 : len(calm)]
    np.testing.assert_array_equal(samples[there], calm[there])


def test_hours_take_no_memory() -> None:
    with SyntheticSource(script(Segment(seconds=1800)), block_s=1.0) as source:
        source.read(0)
        tracemalloc.start()
        try:
            while True:
                source.read(0)
        except EndOfStream:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peak < 3_000_000  # half an hour of two leads would be 10 MB


def test_twelve_leads_show_one_heart() -> None:
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    samples, _ = play(script(Segment(seconds=10), leads=leads, noise_mv=0.0))
    np.testing.assert_allclose(samples[:, 0] + samples[:, 2], samples[:, 1], atol=0.011)


def test_a_scenario_is_a_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nrate_hz = 250\nleads = ["II"]\n\n'
        '[[segments]]\nseconds = 10\npattern = "NNV"\n\n'
        '[[segments]]\nrhythm = "asystole"\nseconds = 8\n\n'
        '[[events]]\nkind = "gap"\nat_s = 2\nseconds = 1\n'
    )
    assert load_script(path) == Script(
        name="mine",
        rate_hz=250.0,
        leads=("II",),
        segments=(
            Segment(seconds=10.0, pattern="NNV"),
            Segment(rhythm=ScriptedRhythm.ASYSTOLE, seconds=8.0),
        ),
        events=(Event(kind=Disturbance.GAP, at_s=2.0, seconds=1.0),),
    )
    with open_source(str(path)) as source:
        assert source.spec.rate_hz == 250.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", r"mine\.toml"),
        ('name = "mine"\nsegments = []\n', r"segments"),
        ('name = "mine"\n[[segments]]\nseconds = -1\n', r"segments\[0\]\.seconds"),
        ('name = "mine"\n[[segments]]\nseconds = 1\nspeed = 2\n', "speed"),
        ('name = "mine"\n[[segments]]\nseconds = 1\npattern = "NX"\n', "pattern"),
        ('name = "mine"\n[[segments]]\nseconds = 1\nrhythm = "samba"\n', "samba"),
        ('name = "mine"\nleads = ["Z9"]\n[[segments]]\nseconds = 1\n', "Z9"),
        ('name = "mine"\nleads = ["II", "II"]\n[[segments]]\nseconds = 1\n', "repeat"),
        (
            (
                'name = "mine"\n[[segments]]\nseconds = 1\n[[events]]\nkind = "gap"\nat_s = 0\n'
                'seconds = 1\nleads = ["V6"]\n'
            ),
            "V6",
        ),
    ],
)
def test_an_invalid_scenario_is_refused_with_the_reason(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(str(path))
    assert caught.value.reason is SourceFault.MALFORMED


def test_the_error_for_an_unknown_scenario_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="known are demo, all_alarms") as caught:
        open_source("synthetic:nothing")
    assert caught.value.reason is SourceFault.NOT_FOUND
    with pytest.raises(SourceError, match="cannot be read"):
        open_source(str(tmp_path / "none.toml"))


def test_no_extra_is_imported_until_it_is_needed() -> None:
    program = (
        "import sys, tocsin_agent.sources.opening, tocsin_agent.sources.files.wfdb_record\n"
        "import tocsin_agent.lab.annotate, tocsin_agent.cli.fetch\n"
        "print([m for m in ('wfdb', 'sleepecg', 'scipy', 'pandas', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == "[]"

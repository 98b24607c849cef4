from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tocsin_agent.cli import cli
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.lab.ec57.annotations import AAMI_CLASS, read_annotations, read_header
from tocsin_agent.lab.ec57.noise import (
    MISSING,
    Calibration,
    DigitalRecord,
    Lead,
    Segment,
    at_rate,
    calibrate,
    mix,
    noise_amplitudes,
    qrs_amplitudes,
    read_record,
    standard_protocol,
)

RATE = 100.0


def record(
    *columns: list[int] | np.ndarray, adc_zero: int = 0, rate_hz: float = RATE, name: str = "rec"
) -> DigitalRecord:
    leads = tuple(Lead(f"L{i}", "mV", 200.0, adc_zero, adc_zero) for i in range(len(columns)))
    return DigitalRecord(name, rate_hz, leads, np.array(columns, np.int64).T)


def gain(*gains: float) -> Calibration:
    return Calibration(gains, "measured")


def noisy_throughout(length: int) -> list[Segment]:
    return [Segment(0, 2, noisy=False), Segment(2, length, noisy=True)]


def test_the_standard_protocol_begins_clean_and_ends_with_the_record() -> None:
    assert standard_protocol(65_000, RATE) == (
        Segment(0, 30_000, noisy=False),
        Segment(30_000, 42_000, noisy=True),
        Segment(42_000, 54_000, noisy=False),
        Segment(54_000, 65_000, noisy=True),
    )
    assert standard_protocol(30_000, RATE) == (Segment(0, 30_000, noisy=False),)
    assert standard_protocol(100, RATE, learning_s=0)[0] == Segment(0, 100, noisy=True)


def test_qrs_amplitude_is_a_trimmed_mean_of_the_first_three_hundred() -> None:
    samples = np.zeros(40_000, np.int64)
    beats = list(range(50, 40_000, 100))
    samples[beats] = 100
    samples[beats[0]], samples[beats[1]] = 5000, 1
    samples[beats[300] :] = 0
    assert qrs_amplitudes(record(samples), beats) == (100.0,)


def test_qrs_amplitude_sees_fifty_milliseconds_on_both_sides() -> None:
    samples = np.zeros(300, np.int64)
    samples[[95, 105]] = 10, -10
    assert qrs_amplitudes(record(samples), [100]) == (20.0,)
    samples[[95, 105]], samples[[94, 106]] = 0, 10
    with pytest.raises(SourceError, match="no normal beat"):
        qrs_amplitudes(record(samples), [100])


def test_a_beat_with_a_missing_sample_is_not_measured() -> None:
    samples = np.zeros(300, np.int64)
    samples[100], samples[200], samples[201] = 10, 90, MISSING
    assert qrs_amplitudes(record(samples), [100, 200]) == (10.0,)


def test_noise_amplitude_is_about_the_mean_of_each_second() -> None:
    wave = np.tile([8, -8], 150) + np.repeat([0, 1000, -500], 100)
    assert noise_amplitudes(record(wave)) == (8.0,)


@pytest.mark.parametrize("samples", [np.zeros(500), np.ones(50), np.full(500, MISSING)])
def test_what_is_no_noise_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(SourceError) as refused:
        noise_amplitudes(record(samples))
    assert refused.value.reason is SourceFault.MALFORMED


def test_the_snr_is_what_was_asked_for() -> None:
    ecg = np.zeros(10_000, np.int64)
    ecg[50::100] = 400
    noise = record(np.tile([30, -30], 5000))
    calibration = calibrate(record(ecg), noise, list(range(50, 10_000, 100)))
    assert calibration.origin == "measured"
    (a,) = calibration.gains(12.0)
    assert 10 * math.log10(400**2 / 8 / (30 * a) ** 2) == pytest.approx(12.0)
    with pytest.raises(ValueError, match="finite"):
        calibration.gains(math.nan)


def test_it_rounds_toward_zero_less_the_adc_zero() -> None:
    mixed = mix(
        record([1000, 1000, 1000, 1000, 999, 998], adc_zero=1000),
        record([0, 0, 3, -3, 3, 0, 0]),
        0.0,
        gain(0.5),
        protocol=noisy_throughout(6),
    )
    assert mixed.record.samples[:, 0].tolist() == [0, 0, 1, -1, 0, -2]
    assert mixed.record.leads[0] == Lead("L0", "mV", 200.0, 0, 0)
    assert mixed.record.millivolts()[5, 0] == -0.01


def test_offsets_cancel_the_steps_and_stay() -> None:
    segments = [Segment(0, 2, noisy=False), Segment(2, 4, noisy=True), Segment(4, 6, noisy=False)]
    mixed = mix(
        record([0] * 6), record([10, 10, 12, 15, 90, 90, 90]), 0.0, gain(2.0), protocol=segments
    )
    assert mixed.record.samples[:, 0].tolist() == [0, 0, 4, 10, 10, 10]
    assert mixed.noisy().tolist() == [False, False, True, True, False, False]


def test_each_lead_has_its_gain_and_noise_leads_are_taken_in_turn() -> None:
    clean, noise = record([0] * 4, [0] * 4, [0] * 4), record([0, 0, 10, 10, 0], [0, 0, 20, 20, 0])
    mixed = mix(clean, noise, 20.0, gain(10.0, 20.0, 30.0), protocol=noisy_throughout(4))
    assert mixed.record.samples[3].tolist() == [10, 40, 30]
    with pytest.raises(ValueError, match="1 gains given for 3 leads"):
        mix(clean, noise, 20.0, gain(1.0), protocol=noisy_throughout(4))


def test_noise_that_ends_begins_again() -> None:
    clean, noise = record([7] * 8, adc_zero=5), record([0, 0, 4, 9])
    level = mix(clean, noise, 0.0, gain(1.0), protocol=noisy_throughout(8), rewind="level")
    assert level.record.samples[:, 0].tolist() == [2, 2, 6, 11, 11, 11, 15, 20]
    nst = mix(clean, noise, 0.0, gain(1.0), protocol=noisy_throughout(8), rewind="nst")
    # without the last noise sample, and lower by the ADC zero each time
    assert nst.record.samples[:, 0].tolist() == [2, 2, 6, 1, 1, 5, 0, 0]


def test_missing_samples_stay_missing_and_move_nothing_else() -> None:
    noise = record([0, 1, 2, 3, 4, 5, 6])
    segments = noisy_throughout(6)
    whole = mix(record([0] * 6), noise, 0.0, gain(1.0), protocol=segments)
    holed = mix(record([0, MISSING, 0, MISSING, 0, 0]), noise, 0.0, gain(1.0), protocol=segments)
    given = holed.record.samples[:, 0]
    assert given[[1, 3]].tolist() == [MISSING, MISSING]
    assert given[[0, 2, 4, 5]].tolist() == whole.record.samples[[0, 2, 4, 5], 0].tolist()
    assert np.isnan(holed.record.millivolts()[:, 0]).tolist() == [False, True] * 2 + [False] * 2


def test_noise_of_another_rate_is_interpolated() -> None:
    noise = record([0, 10, 20, 30], rate_hz=50.0)
    assert at_rate(noise, 100.0).samples[:, 0].tolist() == [0, 5, 10, 15, 20, 25, 30]
    assert at_rate(noise, 54.0) is noise


@pytest.mark.parametrize(
    ("snr_db", "name"), [(24, "118e24"), (6, "118e06"), (-6, "118e_6"), (4.5, "118e04p5")]
)
def test_names_are_those_of_nstdb(snr_db: float, name: str) -> None:
    clean, noise = record([0] * 6, name="118"), record([0] * 7, name="em")
    mixed = mix(clean, noise, snr_db, gain(1.0), protocol=noisy_throughout(6))
    assert mixed.record.name == name


@pytest.mark.parametrize("fmt", ["16", "212"])
def test_what_is_written_reads_back(tmp_path: Path, fmt: str) -> None:
    clean = record([1500, 0, 100, MISSING, 9000], [0, 1, 2, 3, 4], adc_zero=1024, name="118")
    reference = tmp_path / "118.atr"
    reference.write_bytes(b"\0\0")
    mixed = mix(clean, record([0] * 6), 0.0, gain(1.0, 1.0), protocol=noisy_throughout(5))
    path = mixed.write(tmp_path / "new", fmt=fmt, annotations=[reference])  # type: ignore[arg-type]
    back = read_record(str(path))
    high = 32767 if fmt == "16" else 2047
    expected = mixed.record.samples.copy()
    expected[expected > high] = high
    assert back.samples.tolist() == expected.tolist()
    assert back.leads == mixed.record.leads
    assert (tmp_path / "new" / "118r00.atr").read_bytes() == b"\0\0"


@pytest.mark.parametrize("ratios", ["", "a", "nan", "6,,0"])
def test_the_command_refuses_what_is_no_snr(ratios: str) -> None:
    said = CliRunner().invoke(cli, ["noise-stress", "mitdb/118", "--snr", ratios])
    assert said.exit_code == 2
    assert "24,12,0,-6 expected" in said.output


@pytest.mark.records
@pytest.mark.parametrize("snr_db", [24, 12, 0])
def test_nstdb_is_reproduced_sample_for_sample(records: Path, snr_db: int) -> None:
    clean, noise = read_record("mitdb/118"), read_record("nstdb/em")
    reference = read_annotations(
        records / "mitdb" / "118.atr", read_header(records / "mitdb" / "118.hea")
    )
    marks = zip(reference.sample.tolist(), reference.symbol, strict=True)
    normal = [sample for sample, symbol in marks if AAMI_CLASS.get(symbol) == "N"]
    calibration = calibrate(clean, noise, normal)
    assert calibration.origin == "nstdb"
    mixed = mix(clean, noise, snr_db, calibration)
    published = read_record(f"nstdb/118e{snr_db:02d}")
    assert np.array_equal(mixed.record.samples, published.samples)
    # and the definitions of the manual come within 0.15 dB of the published gains
    measured = calibrate(clean, noise, normal, as_published=False)
    off_db = 20 * np.log10(np.divide(measured.gains_0db, calibration.gains_0db))
    assert off_db == pytest.approx([-0.040, -0.141], abs=0.001)


@pytest.mark.records
def test_the_command_tells_how_the_monitor_does(records: Path, tmp_path: Path) -> None:  # noqa: ARG001
    arguments = ["noise-stress", "mitdb/118", "--snr", "24,0", "--json", "--write", str(tmp_path)]
    said = CliRunner().invoke(cli, arguments)
    assert said.exit_code == 0, said.output
    high, low = json.loads(said.output)["results"]
    assert high["record"] == "118e24"
    assert high["gains_from"] == "nstdb"
    assert high["qrs"]["se"] > 99.5
    assert low["noisy"]["ppv"] < high["noisy"]["ppv"]
    assert low["clean"]["se"] > 99.5
    for part in ("tp", "fn", "fp"):
        assert low["qrs"][part] == low["noisy"][part] + low["clean"][part]
    assert read_record(str(tmp_path / "118e00")).samples.shape == (650_000, 2)
    assert (tmp_path / "118e24.atr").is_file()

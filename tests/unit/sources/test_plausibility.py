from __future__ import annotations

import numpy as np
import pytest

from tocsin_agent.sources.plausibility import FirstLook, suspicions
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

RATE_HZ = 250


def ecg(step_s: float = 0.8) -> FloatArray:
    t = np.arange(10 * RATE_HZ) / RATE_HZ
    x = np.random.default_rng(0).normal(0, 0.005, len(t))
    for beat in np.arange(0.5, 10, step_s):
        for height, at, width in ((1.0, 0, 0.011), (-0.2, 0.027, 0.01), (0.25, 0.28, 0.05)):
            x += height * np.exp(-0.5 * ((t - beat - at) / width) ** 2)
    return x


def found(samples: FloatArray, lead: str = "II") -> list[tuple[str, str]]:
    spec = StreamSpec("x", RATE_HZ, (lead,))
    return [(s.code, s.text) for s in suspicions(spec, samples[:, np.newaxis])]


@pytest.mark.parametrize("height_mv", [0.15, 1.0, 5.0])
def test_an_ecg_is_plausible(height_mv: float) -> None:
    assert found(ecg() * height_mv) == []


@pytest.mark.parametrize(
    ("samples", "cause"),
    [
        (ecg() * 1000, "µV read as mV"),
        (ecg() * 3000, "µV read as mV"),
        (ecg() / 1000, "V read as mV"),
        (ecg() / 3000, "V read as mV"),
        (np.rint(ecg() * 100 + 512), "--unit counts --gain COUNTS_PER_MV --baseline 51"),
        (np.rint(ecg() * 5000 + 32768), "counts of a converter"),
        (np.rint(ecg() * 1000), "give --unit uV, or --unit counts"),
        (ecg() * 1000 + 20_000, "or --unit uV"),
        (ecg() * 20, "gain looks too small"),
    ],
)
def test_a_wrong_unit_is_named(samples: FloatArray, cause: str) -> None:
    [(code, text)] = found(samples)
    assert code == "implausible_signal"
    assert cause in text


def faint(height_mv: float) -> FloatArray:
    """Return an ECG without noise whose QRS has this height from peak to peak."""
    clean = ecg() - np.random.default_rng(0).normal(0, 0.005, 2500)
    return clean * (height_mv / np.ptp(clean)) + np.random.default_rng(2).normal(0, 2e-4, 2500)


@pytest.mark.parametrize("height_mv", [0.06, 0.1, 0.14])
def test_an_ecg_that_is_too_small_to_be_counted_is_named(height_mv: float) -> None:
    [(code, text)] = found(faint(height_mv))
    assert code == "implausible_signal"
    assert "no beat is counted" in text
    assert "the gain or the electrodes" in text


@pytest.mark.parametrize("other", [ecg(), faint(0.2)])
def test_one_lead_may_be_small_beside_another(other: FloatArray) -> None:
    assert looked(np.column_stack([faint(0.1), other])) == []


@pytest.mark.parametrize("block", [50, 333])
def test_a_faint_ecg_is_named_before_asystole_is_raised(block: int) -> None:
    spec = StreamSpec("x", RATE_HZ, ("II",))
    look, samples = FirstLook(spec), faint(0.1)[:, np.newaxis]
    at = [
        begin + block
        for begin in range(0, 8 * RATE_HZ, block)
        if look.take(SampleBlock(spec, begin, samples[begin : begin + block]))
    ]
    assert len(at) == 1
    assert 6 * RATE_HZ <= at[0] < 6 * RATE_HZ + block


def test_a_faint_ecg_whose_gain_is_put_right_ends_the_alarm() -> None:
    one = np.column_stack([faint(0.1), faint(0.07)])
    assert looked(np.concatenate([one, one * 10, one * 10])) == [
        *(("II", False), ("V1", False)) * 2,
        *(("II", True), ("V1", True)),
    ]


@pytest.mark.parametrize(
    ("samples", "lead", "cause"),
    [
        (-ecg(), "II", "inverted"),
        (-ecg(), "I", "arm electrodes swapped"),
        (np.zeros(2500), "V1", "flat"),
        (np.full(2500, np.nan), "V1", "no samples"),
        (ecg() + np.sin(2 * np.pi * 50 * np.arange(2500) / RATE_HZ), "V1", "hum of 50 Hz"),
        (ecg() + np.sin(2 * np.pi * 60 * np.arange(2500) / RATE_HZ), "V1", "hum of 60 Hz"),
    ],
)
def test_a_wiring_mistake_is_named(samples: FloatArray, lead: str, cause: str) -> None:
    [(code, text)] = found(samples, lead)
    assert code == "check_wiring"
    assert cause in text


def test_an_inverted_v1_is_usual() -> None:
    assert found(-ecg(), "V1") == []


def test_an_open_input_is_no_ecg_of_a_wrong_unit() -> None:
    noise = np.random.default_rng(1).normal(0, 0.002, 2500)
    [(code, text)] = found(noise)
    assert code == "check_wiring"
    assert "open input" in text


def test_where_the_gain_is_unknown_no_amplitude_is_judged() -> None:
    spec = StreamSpec("x", RATE_HZ, ("II",), calibrated=False)
    for factor in (1000, 1, 1e-3):
        assert suspicions(spec, ecg()[:, np.newaxis] * factor) == []


def looked(samples: FloatArray, block: int = 60) -> list[tuple[str, bool]]:
    spec = StreamSpec("x", RATE_HZ, ("II", "V1"))
    look, events = FirstLook(spec), []
    for at in range(0, len(samples), block):
        events += look.take(SampleBlock(spec, at, samples[at : at + block]))
    return [(event.subject, event.over) for event in events]


@pytest.mark.parametrize(("factor", "times"), [(1000, 1), (1e-3, 2), (30, 1)])
def test_a_stream_with_a_wrong_unit_raises_an_alarm_for_each_lead(
    factor: float, times: int
) -> None:
    """One whose beats are too small to be counted does so after 6 s, and 10 s confirm it."""
    one = np.column_stack([ecg(), ecg()]) * factor
    assert looked(one) == [("II", False), ("V1", False)] * times


@pytest.mark.parametrize(("factor", "cause"), [(1e-3, "V read as mV"), (0.1, "no beat is counted")])
def test_the_early_alarm_has_the_cause_of_the_later_one(factor: float, cause: str) -> None:
    spec = StreamSpec("x", RATE_HZ, ("II",))
    look, samples = FirstLook(spec), ecg()[:, np.newaxis] * factor
    events = [
        event
        for at in range(0, len(samples), 250)
        for event in look.take(SampleBlock(spec, at, samples[at : at + 250]))
    ]
    assert [cause in str(event.measured["cause"]) for event in events] == [True, True]


def test_the_alarm_ends_with_ten_plausible_seconds() -> None:
    one = np.column_stack([ecg(), ecg()])
    wrong = one * [1000, 1]
    assert looked(np.concatenate([wrong, wrong, one, wrong])) == [
        *(("II", False), ("II", False), ("II", True)),
    ]


@pytest.mark.parametrize(
    "disturbance",
    [
        np.where(np.arange(2500) % 2500 < 600, 400.0 * (-1.0) ** (np.arange(2500) // 9), 0.0),
        20.0 * np.sin(2 * np.pi * 50 * np.arange(2500) / RATE_HZ),
    ],
    ids=["electrodes put on", "hum of an open input"],
)
def test_what_is_no_wrong_unit_raises_none(disturbance: FloatArray) -> None:
    assert looked(np.column_stack([ecg() + disturbance, ecg()])) == []


def test_noise_of_an_amplifier_raises_none() -> None:
    assert looked(np.random.default_rng(1).normal(0, 0.002, (2500, 2))) == []


@pytest.mark.parametrize("per_minute", [60, 120, 150, 190, 250])
def test_volts_are_named_at_every_rate(per_minute: int) -> None:
    [(code, text)] = found(ecg(60 / per_minute) / 1000)
    assert code == "implausible_signal"
    assert "give --unit V" in text

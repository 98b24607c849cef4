"""The rules of the beat-by-beat comparison, one by one."""

from __future__ import annotations

import pytest

from tocsin_agent.lab.ec57.annotations import Annotations, make_annotations
from tocsin_agent.lab.ec57.beat_tables import lines, shutdown_lines
from tocsin_agent.lab.ec57.beats import BeatOptions, Pair, compare_beats

RATE = 360.0
FROM_START = BeatOptions(start_s=0)


def marked(
    *marks: tuple[int, str] | tuple[int, str, int],
    rate_hz: float = RATE,
    n_samples: int | None = 100_000,
) -> Annotations:
    return make_annotations(
        [mark[0] for mark in marks],
        [mark[1] for mark in marks],
        subtype=[mark[2] if len(mark) > 2 else 0 for mark in marks],
        rate_hz=rate_hz,
        n_samples=n_samples,
        record="r",
    )


def labels(
    reference: Annotations, test: Annotations, options: BeatOptions = FROM_START
) -> list[str]:
    return [pair.label for pair in compare_beats(reference, test, options).pairs]


def beats_at(*samples: int) -> Annotations:
    """Lay normal beats, all behind the first 150 ms, where extra beats do not count."""
    return marked(*((1000 + sample, "N") for sample in samples))


@pytest.mark.parametrize(
    ("reference", "test", "expected"),
    [
        ([100], [154], ["Nn"]),
        ([100], [155], ["No", "On"]),
        ([155], [100], ["On", "No"]),
        ([100, 150], [140], ["No", "Nn"]),
        ([140], [100, 150], ["On", "Nn"]),
        ([140], [130, 150], ["On", "Nn"]),  # equally near: the later
        ([130, 150], [140], ["No", "Nn"]),
        ([130, 150], [140, 155], ["Nn", "Nn"]),  # the rival has a nearer beat of its own
        ([100, 140], [130, 139], ["Nn", "Nn"]),
        ([], [5], ["On"]),
        ([], [], []),
    ],
)
def test_which_beats_are_partners(
    reference: list[int], test: list[int], expected: list[str]
) -> None:
    assert labels(beats_at(*reference), beats_at(*test)) == expected


def test_what_one_pairing_took_is_gone_for_the_next() -> None:
    """Of four beats on either side in two windows' reach, none has two partners."""
    reference, test = beats_at(0, 30, 60, 90), beats_at(20, 45, 80, 100)
    pairs = compare_beats(reference, test, FROM_START).pairs
    assert [pair.reference for pair in pairs if pair.reference] == reference.sample.tolist()
    assert [pair.test for pair in pairs if pair.test] == test.sample.tolist()


def test_classes_are_those_of_the_standard() -> None:
    symbols = "NLRBAaJSejnVErF/fQ?"
    beats = marked(*((1000 * (i + 1), symbol) for i, symbol in enumerate(symbols)))
    mapped = [pair.label[0] for pair in compare_beats(beats, beats, FROM_START).pairs]
    assert "".join(mapped) == "NNNNSSSSSSSVVVFQQQQ"


def test_marks_that_are_no_beats_do_not_count() -> None:
    marks = marked((100, "+"), (200, "~"), (300, "|"), (400, "x"), (500, '"'), (600, "#45"))
    assert labels(marks, marks) == []


def test_the_learning_period_does_not_count() -> None:
    reference = marked((107_999, "N"), (108_000, "N"), n_samples=200_000)
    assert labels(reference, reference, BeatOptions()) == ["Nn"]


def test_the_last_test_beat_before_the_start_may_be_a_partner() -> None:
    reference = marked((107_000, "N"), (108_010, "N"), (109_000, "N"), n_samples=200_000)
    test = marked((107_000, "N"), (107_990, "N"), (109_000, "N"), n_samples=200_000)
    assert labels(reference, test, BeatOptions()) == ["Nn", "Nn"]


@pytest.mark.parametrize(("extra", "expected"), [(108_054, ["Nn"]), (108_055, ["On", "Nn"])])
def test_an_extra_beat_within_one_window_after_the_start_is_passed_over(
    extra: int, expected: list[str]
) -> None:
    reference = marked((109_000, "N"), n_samples=200_000)
    test = marked((extra, "N"), (109_000, "N"), n_samples=200_000)
    assert labels(reference, test, BeatOptions()) == expected


@pytest.mark.parametrize(("end_s", "count"), [(None, 3), (0, 2), (1.0, 1)])
def test_where_the_comparison_ends(end_s: float | None, count: int) -> None:
    reference = marked((300, "N"), (700, "N"), (50_000, "N"))
    test = marked((300, "N"), (700, "N"))
    assert len(labels(reference, test, BeatOptions(start_s=0, end_s=end_s))) == count


def test_without_a_stated_length_it_ends_with_the_reference() -> None:
    reference = marked((300, "N"), n_samples=None)
    test = marked((310, "N"), (900, "N"), n_samples=None)
    assert labels(reference, test) == ["Nn"]


def test_vf_by_the_reference_is_left_out() -> None:
    reference = marked((100, "N"), (1000, "["), (1500, "!"), (2000, "]"), (2400, "N"))
    test = marked((100, "N"), (1000, "V"), (1500, "V"), (2001, "V"), (2400, "N"))
    assert labels(reference, test) == ["Nn", "Ov", "Nn"]
    whole = BeatOptions(start_s=0, exclude_vf=False)
    assert labels(reference, test, whole) == ["Nn", "Ov", "Ov", "Ov", "Nn"]


def test_vf_that_never_ends_goes_to_the_end() -> None:
    reference = marked((100, "N"), (1000, "["), (5000, "N"))
    assert labels(reference, marked((100, "N"), (5000, "V"))) == ["Nn"]


def test_a_flutter_wave_is_no_beat() -> None:
    reference, test = marked((100, "N"), (900, "N")), marked((100, "N"), (900, "!"))
    found = compare_beats(reference, test, FROM_START)
    assert [pair.label for pair in found.pairs] == ["Nn", "No"]
    assert found.qrs.fn == 1


def test_vf_by_the_test_is_passed_over_too() -> None:
    reference = marked((100, "N"), (1500, "N"), (2400, "N"))
    test = marked((100, "N"), (1000, "["), (1500, "N"), (2000, "]"), (2400, "N"))
    assert labels(reference, test) == ["Nn", "No", "Nn"]


def test_beats_missed_in_a_shutdown_are_counted_apart() -> None:
    reference = marked((1000, "N"), (2000, "V"), (3000, "N"))
    test = marked((1000, "N"), (1500, "~", -1), (2500, "~", 0), (3000, "N"))
    found = compare_beats(reference, test, FROM_START)
    assert [pair.label for pair in found.pairs] == ["Nn", "Vx", "Nn"]
    assert found.shutdown_s == pytest.approx(1000 / RATE)
    assert (found.qrs.fn, found.cells("Vx")) == (1, 1)
    assert shutdown_lines([found])[2].split()[:7] == ["r", "0", "0", "1", "0", "0", "33.33"]
    plain = BeatOptions(start_s=0, shutdown=False)
    assert labels(reference, test, plain) == ["Nn", "Vo", "Nn"]


def test_a_shutdown_mark_alone_reaches_to_the_annotations_beside_it() -> None:
    reference = marked((1000, "N"), (2000, "N"), (3000, "N"))
    test = marked((1000, "N"), (2000, "~", 0x30), (3000, "N"))
    found = compare_beats(reference, test, FROM_START)
    assert [pair.label for pair in found.pairs] == ["Nn", "Nx", "Nn"]
    assert found.shutdown_s == pytest.approx((3000 - 54 - 1054) / RATE)


def test_a_lone_shutdown_mark_behind_vf_reaches_back_to_its_end() -> None:
    test = marked((1000, "N"), (1200, "["), (1600, "]"), (2000, "~", -1), (3000, "N"))
    found = compare_beats(marked((1000, "N")), test, FROM_START)
    assert found.shutdown_s == pytest.approx((3000 - 54 - 1654) / RATE)


@pytest.mark.parametrize("subtype", [0x10, 0x20, 0x0F])
def test_a_shutdown_has_both_bits(subtype: int) -> None:
    test = marked((1000, "N"), (1500, "~", subtype), (2500, "~", 0), (3000, "N"))
    assert compare_beats(test, test, FROM_START).shutdown_s == 0


def test_only_the_two_latest_shutdowns_are_looked_at() -> None:
    """The test has been read on to its next beat, past three shutdowns."""
    reference = marked((100, "N"), (1500, "N"), (3500, "N"))
    shut = [(1000, "~", -1), (3000, "~", -1), (5000, "~", -1)]
    readable = [(2000, "~", 0), (4000, "~", 0), (6000, "~", 0)]
    test = marked((100, "N"), *shut, *readable, (90_000, "N"))
    assert labels(reference, test) == ["Nn", "No", "Nx", "On"]


def test_a_shutdown_without_end_lasts() -> None:
    test = marked((1000, "N"), (1500, "~", -1))
    found = compare_beats(marked((1000, "N"), (90_000, "N")), test, FROM_START)
    assert [pair.label for pair in found.pairs] == ["Nn", "Nx"]
    assert found.shutdown_s == pytest.approx(98_500 / RATE)


def test_an_extra_beat_where_the_reference_is_unreadable() -> None:
    reference = marked((1000, "N"), (1500, "~", -1), (2500, "~", 0), (3000, "N"))
    test = marked((1000, "N"), (2000, "V"), (3000, "N"))
    found = compare_beats(reference, test, FROM_START)
    assert [pair.label for pair in found.pairs] == ["Nn", "Xv", "Nn"]
    assert found.veb.fp == 1
    assert found.rr_error_ms is None  # the only interval of the reference is not one


def test_the_rr_error_counts_every_event() -> None:
    reference = marked((1000, "N"), (1360, "N"), (1720, "N"))
    test = marked((1000, "N"), (1720, "N"))
    found = compare_beats(reference, test, FROM_START)
    # missed: 360 against 720; then 360 against 720 again
    assert found.rr_error_ms == pytest.approx(1000.0)


def test_no_interval_ends_behind_vf_or_a_shutdown() -> None:
    reference = marked((1000, "N"), (1360, "N"), (1720, "N"))
    for onset, end in (((1400, "["), (1600, "]")), ((1400, "~", -1), (1600, "~", 0))):
        test = marked((1000, "N"), (1400, "N"), onset, end, (1720, "N"))
        found = compare_beats(reference, test, FROM_START)
        assert found.rr_intervals == 1
        assert found.rr_error_ms == pytest.approx(40 / RATE * 1000)


def test_another_rate_is_rescaled() -> None:
    reference = marked((720, "N"), (1440, "V"))
    test = marked((500, "N"), (1000, "V"), rate_hz=250.0)
    assert compare_beats(reference, test, FROM_START).pairs == (
        Pair("Nn", 720, 720),
        Pair("Vv", 1440, 1440),
    )


def test_nothing_to_find_is_no_percentage() -> None:
    empty = marked()
    found = compare_beats(empty, empty, FROM_START)
    assert found.qrs.se.percent is found.qrs.ppv.percent is found.rr_error_ms is None
    assert lines([found])[1].split()[-7:] == ["-"] * 7
    assert lines([]) == lines([found])[:1]


@pytest.mark.parametrize(
    "wrong", [{"start_s": -1}, {"end_s": 300}, {"match_window_s": -0.1}, {"start_s": float("nan")}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BeatOptions(**wrong)  # type: ignore[arg-type]

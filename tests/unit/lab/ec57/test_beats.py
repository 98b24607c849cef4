"""The rules of the beat-by-beat comparison, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_agent.lab.ec57.annotations import Annotations, make_annotations
from tocsin_agent.lab.ec57.beats import (
    BeatOptions,
    Pair,
    compare_beats,
    lines,
    match,
    shutdown_lines,
)

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


@pytest.mark.parametrize(
    ("reference", "test", "expected"),
    [
        ([100], [154], [(0, 0)]),
        ([100], [155], [(0, None), (None, 0)]),
        ([155], [100], [(None, 0), (0, None)]),
        ([100, 150], [140], [(0, None), (1, 0)]),
        ([140], [100, 150], [(None, 0), (0, 1)]),
        ([140], [130, 150], [(None, 0), (0, 1)]),  # equally near: the later
        ([130, 150], [140], [(0, None), (1, 0)]),
        ([], [5], [(None, 0)]),
        ([], [], []),
    ],
)
def test_match(
    reference: list[int], test: list[int], expected: list[tuple[int | None, int | None]]
) -> None:
    assert list(match(reference, test, 54)) == expected


@given(
    st.lists(st.integers(0, 2000), unique=True, max_size=30).map(sorted),
    st.lists(st.integers(0, 2000), unique=True, max_size=30).map(sorted),
)
def test_match_uses_every_beat_once_in_order_and_never_beyond_the_window(
    reference: list[int], test: list[int]
) -> None:
    pairs = list(match(reference, test, 54))
    assert [i for i, _ in pairs if i is not None] == list(range(len(reference)))
    assert [j for _, j in pairs if j is not None] == list(range(len(test)))
    both = [(i, j) for i, j in pairs if i is not None and j is not None]
    assert all(abs(reference[i] - test[j]) <= 54 for i, j in both)


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


def test_beats_missed_in_a_shutdown_are_counted_apart() -> None:
    reference = marked((1000, "N"), (2000, "V"), (3000, "N"))
    test = marked((1000, "N"), (1500, "~", -1), (2500, "~", 0), (3000, "N"))
    found = compare_beats(reference, test, FROM_START)
    assert [pair.label for pair in found.pairs] == ["Nn", "Vx", "Nn"]
    assert found.shutdown_s == pytest.approx(1000 / RATE)
    assert (found.qrs.fn, found.cells("Vx")) == (1, 1)
    assert shutdown_lines([found])[2].split()[:6] == ["r", "0", "0", "1", "0", "0"]
    plain = BeatOptions(start_s=0, shutdown=False)
    assert labels(reference, test, plain) == ["Nn", "Vo", "Nn"]


def test_a_shutdown_mark_alone_reaches_to_the_annotations_beside_it() -> None:
    reference = marked((1000, "N"), (2000, "N"), (3000, "N"))
    test = marked((1000, "N"), (2000, "~", 0x30), (3000, "N"))
    found = compare_beats(reference, test, FROM_START)
    assert [pair.label for pair in found.pairs] == ["Nn", "Nx", "Nn"]
    assert found.shutdown_s == pytest.approx((3000 - 54 - 1054) / RATE)


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

"""The comparison that accuracy is measured with, on beats made by hand."""

from __future__ import annotations

from accuracy.compare import Counts, add_up, count, match

RATE = 360.0
WITHIN = 54  # 150 ms


def marks(text: str, at: int = 1000) -> list[tuple[int, str]]:
    return [(at + 300 * i, label) for i, label in enumerate(text)]


def test_150_ms_match_and_one_sample_more_does_not() -> None:
    assert match([(1000, "N")], [(1054, "V")], WITHIN) == [("N", "V")]
    assert match([(1000, "N")], [(946, "V")], WITHIN) == [("N", "V")]
    assert sorted(match([(1000, "N")], [(1055, "V")], WITHIN)) == [("", "V"), ("N", "")]
    assert sorted(match([(1000, "N")], [(945, "V")], WITHIN)) == [("", "V"), ("N", "")]


def test_one_detection_serves_one_beat() -> None:
    assert sorted(match([(1000, "N"), (1050, "V")], [(1025, "N")], WITHIN)) == [
        ("N", "N"),
        ("V", ""),
    ]


def test_as_many_as_possible_match() -> None:
    # The nearest detection of the first beat is the only one that the second can have.
    reference, given = [(1000, "N"), (1080, "V")], [(960, "N"), (1030, "V")]
    assert match(reference, given, WITHIN) == [("N", "N"), ("V", "V")]


def test_of_two_detections_the_nearer_counts() -> None:
    assert match([(1000, "N")], [(950, "V"), (1001, "N")], WITHIN) == [("", "V"), ("N", "N")]


def test_qrs_is_counted() -> None:
    given = [*marks("NNNN")[:2], *marks("NNNN")[3:], (5000, "N")]
    counts = count(marks("NNNN"), given, RATE)
    assert (counts.qrs_tp, counts.qrs_fn, counts.qrs_fp) == (3, 1, 1)
    assert counts.score("qrs") == (75.0, 75.0)


def test_fusion_and_unknown_called_v_are_forgiven_and_others_not() -> None:
    counts = count(marks("FQNSV"), marks("VVVVV"), RATE)
    assert (counts.veb_tp, counts.veb_fn, counts.veb_fp) == (1, 0, 2)


def test_a_detection_called_v_that_matches_nothing_is_a_false_positive() -> None:
    assert count([], [(1000, "V")], RATE).veb_fp == 1


def test_a_missed_v_is_missed_however_it_is_called() -> None:
    assert count(marks("VVV"), [(1000, "F"), (1300, "N")], RATE).veb_fn == 3


def test_supraventricular_beats_forgive_q_only() -> None:
    counts = count(marks("QFNS"), marks("SSSS"), RATE)
    assert (counts.sveb_tp, counts.sveb_fn, counts.sveb_fp) == (1, 0, 2)


def test_paced_records_have_no_classes() -> None:
    assert count(marks("VN"), marks("VV"), RATE, classify=False) == Counts(2, 0, 0)


def test_gross_is_the_sum() -> None:
    assert add_up([Counts(1, 2, 3), Counts(10, 20, 30, 1)]) == Counts(11, 22, 33, 1)
    assert Counts().score("veb") == (100.0, 100.0)

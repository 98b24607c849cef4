"""The rules of the episode-by-episode comparison, one by one."""

from __future__ import annotations

import pytest

from tocsin_agent.lab.ec57.annotations import Annotations, make_annotations
from tocsin_agent.lab.ec57.episodes import (
    EpisodeKind,
    EpisodeOptions,
    EpisodeResult,
    compare_episodes,
    duration,
    lines,
)

AF, VF = EpisodeKind.AF, EpisodeKind.VF
N_SAMPLES = 10_000


def marked(*marks: tuple[int, str], n_samples: int | None = N_SAMPLES) -> Annotations:
    """Make annotations at 10 Hz; a mark that begins with `(` is a rhythm."""
    return make_annotations(
        [at for at, _ in marks],
        ["+" if mark.startswith("(") else mark for _, mark in marks],
        aux=[mark if mark.startswith("(") else "" for _, mark in marks],
        rate_hz=10.0,
        n_samples=n_samples,
        record="r",
    )


def counts(result: EpisodeResult) -> tuple[int, int, int, int]:
    return result.tps, result.fn, result.tpp, result.fp


def seconds(result: EpisodeResult) -> tuple[float, float, float]:
    reference_ms, test_ms = result.durations_ms
    return result.overlap / result.rate_hz, reference_ms / 1000, test_ms / 1000


def test_any_overlap_counts_and_touching_does_not() -> None:
    reference = marked((4000, "["), (5000, "]"), (6000, "["), (6100, "]"))
    test = marked((4999, "["), (5500, "]"), (5900, "["), (6000, "]"))
    result = compare_episodes(reference, test, VF)
    assert counts(result) == (1, 1, 1, 1)
    assert seconds(result) == (0.1, 110.0, 60.1)


def test_one_test_episode_may_find_two() -> None:
    reference = marked((4000, "["), (4100, "]"), (4200, "["), (4300, "]"))
    result = compare_episodes(reference, marked((4050, "["), (4250, "]")), VF)
    assert counts(result) == (2, 0, 1, 0)


def test_the_learning_period_is_cut_off() -> None:
    reference = marked((100, "(AFIB"), (3100, "(N"))
    result = compare_episodes(reference, marked((100, "(AFIB"), (3000, "(N")), AF)
    assert counts(result) == (0, 1, 0, 0)
    assert seconds(result) == (0.0, 10.0, 0.0)


def test_an_open_episode_ends_with_the_record() -> None:
    reference, test = marked((9000, "(AFIB")), marked((9500, "["))
    assert seconds(compare_episodes(reference, test, AF))[1] == 100.0
    assert seconds(compare_episodes(reference, test, VF))[2] == 50.0


def test_the_end_without_a_length_is_the_last_reference_annotation() -> None:
    reference = marked((9000, "(AFIB"), (9700, "N"), n_samples=None)
    test = marked((9000, "(AFIB"), (9400, "N"), n_samples=None)
    assert seconds(compare_episodes(reference, test, AF))[1] == 70.0
    at_either_end = EpisodeOptions(end_s=0)
    assert seconds(compare_episodes(reference, test, AF, at_either_end))[1] == 40.0
    until = EpisodeOptions(end_s=910)
    assert seconds(compare_episodes(reference, test, AF, until))[1] == 10.0


def test_a_second_onset_begins_no_second_episode() -> None:
    reference = marked((4000, "(AFIB"), (4100, "(AFIB"), (4200, "(N"), (4300, "]"), (4400, "["))
    assert counts(compare_episodes(reference, reference, AF)) == (1, 0, 1, 0)
    assert counts(compare_episodes(reference, reference, VF)) == (1, 0, 1, 0)


def test_rhythm_marks_are_no_vf() -> None:
    assert counts(compare_episodes(marked((4000, "(VFL")), marked(), VF)) == (0, 0, 0, 0)


@pytest.mark.parametrize(("in_durations", "test_s"), [(False, 30.0), (True, 20.0)])
def test_short_episodes_may_be_left_out(in_durations: bool, test_s: float) -> None:
    reference = marked((4000, "["), (4200, "]"))
    test = marked((4000, "["), (4200, "]"), (5000, "["), (5100, "]"))
    options = EpisodeOptions(shortest_s=15, shortest_in_durations=in_durations)
    result = compare_episodes(reference, test, VF, options)
    assert counts(result) == (1, 0, 1, 0)
    assert seconds(result)[2] == test_s


def test_flutter_may_be_excluded() -> None:
    reference = marked((4000, "(AFIB"), (5000, "(AFL"), (6000, "(N"))
    test = marked((4500, "(AFIB"), (5100, "(N"), (5500, "(AFIB"), (5600, "(N"), (7000, "(AFIB"))
    assert counts(compare_episodes(reference, test, AF)) == (1, 0, 1, 2)
    result = compare_episodes(reference, test, AF, EpisodeOptions(exclude_flutter=True))
    assert counts(result) == (1, 0, 1, 1)
    assert result.test_duration - result.excluded == 3500


@pytest.mark.parametrize(
    ("of", "text"),
    [
        (0, "0.000"),
        (19_060, "0:19.060"),
        (60_000, "1:00.000"),
        (1_782_000, "29:42.000"),
        (6_471_301, "1:47:51.301"),
    ],
)
def test_durations(of: int, text: str) -> None:
    assert duration(of) == text


def test_gross_durations_are_worked_out_of_what_is_printed() -> None:
    """10.5 of 80 s print as 13 %, which is 10.4 s of 20 s as well."""
    reference = marked((4000, "["), (4800, "]"))
    test = marked((4695, "["), (4895, "]"))
    result = compare_episodes(reference, test, VF)
    assert (result.printed["duration_se"], result.printed["duration_ppv"]) == (13, 53)
    gross = next(line for line in lines([result], VF) if line.startswith("Gross"))
    assert gross.split()[-2:] == ["13", "52"]


def test_the_table_of_no_record_and_of_nothing() -> None:
    assert lines([], AF)[0] == "(AF detection)"
    assert len(lines([], AF)) == 2
    printed = lines([compare_episodes(marked(), marked(), VF)], VF)
    nothing = "    0" * 4 + "    -   -   -   -         0.000          0.000"
    assert printed[2] == "     r" + nothing
    assert printed[-3:] == [
        f"{'Average':27}   -   -   -   -",
        "",
        "Summary of results from 1 records",
    ]

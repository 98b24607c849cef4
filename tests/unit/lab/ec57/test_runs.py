"""The rules of the run-by-run comparison, one by one."""

from __future__ import annotations

import pytest

from tocsin_agent.lab.ec57.annotations import Annotations, make_annotations
from tocsin_agent.lab.ec57.runs import (
    Run,
    RunKind,
    RunOptions,
    RunTally,
    compare_runs,
    lines,
    runs,
)

VE, SVE = RunKind.VENTRICULAR, RunKind.SUPRAVENTRICULAR
FROM_START = RunOptions(start_s=0)


AUX = {"{": "(AFIB", "<": "(AFL", "}": "(N", "(": "(VFL"}


def rhythm(text: str, first: int = 1000, step: int = 300) -> Annotations:
    """Lay beats and marks out evenly; see `AUX` for the rhythms, `~` begins a shutdown."""
    return placed(*((first + step * i, mark) for i, mark in enumerate(text)))


def placed(*marks: tuple[int, str], n_samples: int = 100_000) -> Annotations:
    """Lay beats and marks where they are wanted."""
    return make_annotations(
        [sample for sample, _ in marks],
        ["+" if mark in AUX else mark for _, mark in marks],
        aux=[AUX.get(mark, "") for _, mark in marks],
        subtype=[0x30 if mark == "~" else 3 for _, mark in marks],
        rate_hz=360.0,
        n_samples=n_samples,
        record="100",
    )


def lengths(text: str, kind: RunKind) -> list[int]:
    return [run.beats for run in runs(rhythm(text), kind, 0, 100_000)]


@pytest.mark.parametrize(
    ("text", "ventricular"),
    [
        ("NVN", []),
        ("NVVN", [2]),
        ("NVFVN", [3]),
        ("NVVVVVVVN", [6]),  # counted up to six
        ("NVVNVV", [2, 2]),  # the end of the file ends a run
        ("VQVV", [2]),
        ("NV|VN", [2]),
        ("NV{VN", [2]),
        ("VV~VV", [2, 2]),
        ("N[!!!]VN", [6]),
        ("N(VN", [6]),
        ("N(}VN", [6]),  # any rhythm mark ends VF, its beats go on
        ("N[N[VN]VVN", [6, 2]),  # a second onset while it lasts
        ("NV]VN", [2]),  # an end without an onset
        ("NV[]N", []),  # an onset in a run adds nothing
    ],
)
def test_ventricular_runs(text: str, ventricular: list[int]) -> None:
    assert lengths(text, VE) == ventricular


@pytest.mark.parametrize(
    ("text", "supraventricular"),
    [
        ("NAJN", [2]),
        ("NejSN", [3]),
        ("N{VN}", [6]),
        ("N{NNVNNVN}N", [6, 2]),
        ("N<NN}N", [6]),
        ("NA{NNVN", [3]),
        ("N{<{N", [6]),
        ("{V{NN}N", [6, 2]),
        ("{V(NN", [6]),  # VF puts an end to AF
        ("{V~NN", [6, 2]),  # a shutdown does not: N is still S
        ("A[A]", [2]),
    ],
)
def test_supraventricular_runs(text: str, supraventricular: list[int]) -> None:
    assert lengths(text, SVE) == supraventricular


def test_a_run_begins_with_the_comparison_and_ends_within_it() -> None:
    annotations = rhythm("VVVVN")
    assert list(runs(annotations, VE, 1300, 2200)) == [Run(1300, 1900, 3)]
    assert list(runs(annotations, VE, 1300, 1900)) == []


@pytest.mark.parametrize(
    ("before", "beats"), [("{NV", [6]), ("{N}", []), ("{N(", [6]), ("{N(]", []), ("{N~", [])]
)
def test_af_that_began_before_the_start_is_a_long_run_at_once(
    before: str, beats: list[int]
) -> None:
    """AF that VF cut short counts for as long as that lasts."""
    start = 1000 + 300 * len(before)
    found = list(runs(rhythm(before + "VN"), SVE, start, 9000))
    assert found == [Run(start, start, n) for n in beats]


def test_the_onset_of_af_leaves_the_end_of_the_window_where_the_last_run_had_it() -> None:
    assert list(runs(rhythm("NAAN{V"), SVE, 0, 9000)) == [Run(1300, 1600, 2), Run(2200, 1600, 6)]


def test_the_end_of_af_is_the_end_of_the_window() -> None:
    assert list(runs(rhythm("N{NN}V"), SVE, 0, 9000)) == [Run(1300, 2200, 6)]


def compare(reference: str, test: str, kind: RunKind) -> dict[str, RunTally]:
    table = compare_runs(rhythm(reference), rhythm(test), FROM_START).table(kind)
    none = RunTally()
    tallies = {"C": table.couplets, "S": table.short, "L": table.long}
    return {name: tally for name, tally in tallies.items() if tally != none}


@pytest.mark.parametrize(
    ("reference", "test", "kind", "expected"),
    [
        ("NVVN", "NVVN", VE, {"C": RunTally(1, 0, 1, 0)}),
        ("NVVN", "NVNN", VE, {"C": RunTally(0, 1, 0, 0)}),
        ("NVVN", "NVVV", VE, {"C": RunTally(tps=1), "S": RunTally(fp=1)}),
        (
            "NVVVVVVN",
            "NVVVNVVN",
            VE,
            {"C": RunTally(tpp=1), "S": RunTally(tpp=1), "L": RunTally(fn=1)},
        ),
        ("NVVVVVN", "NVVVNNN", VE, {"S": RunTally(1, 0, 1, 0)}),
        ("NV}VN", "NV{VN", VE, {"C": RunTally(0, 1, 1, 0)}),
        ("{NNVNN", "{NQNNQ", SVE, {"C": RunTally(1, 0, 1, 0), "L": RunTally(1, 0, 1, 0)}),
        ("NNNNNN", "NSSNNN", SVE, {"C": RunTally(fp=1)}),
    ],
)
def test_comparison(
    reference: str, test: str, kind: RunKind, expected: dict[str, RunTally]
) -> None:
    assert compare(reference, test, kind) == expected


# How the other file is searched: ventricular runs of the reference that the test has.


def found(reference: Annotations, test: Annotations, kind: RunKind = VE) -> tuple[int, int]:
    """Return how many runs of the reference were found, and how many there were."""
    table = compare_runs(reference, test, FROM_START).table(kind)
    tallies = (table.couplets, table.short, table.long)
    return sum(t.tps for t in tallies), sum(t.tps + t.fn for t in tallies)


def test_what_a_search_has_read_is_gone_for_the_next() -> None:
    """Two couplets follow each other within the match window; the test has two beats in both."""
    reference = placed((1000, "V"), (1040, "V"), (1050, "N"), (1060, "V"), (1100, "V"), (1300, "N"))
    test = placed((1045, "V"), (1055, "V"), (1300, "N"))
    assert found(reference, test) == (1, 2)


def test_vf_that_an_earlier_search_read_is_known() -> None:
    reference = rhythm("VVNNVVNVVN")
    test = rhythm("N[NNNN]NNN")
    assert found(reference, test) == (2, 3)


def test_vf_that_began_before_the_window_and_lasts_into_it_is_a_run() -> None:
    assert found(rhythm("NNNVVN"), rhythm("[NNN]N")) == (1, 1)
    assert found(rhythm("NNNVVN"), rhythm("[NNNNN")) == (1, 1)
    assert found(rhythm("NNNNVVN"), rhythm("[N]NNNN")) == (0, 1)


@pytest.mark.parametrize("end", ["]", "}", "{", "~"])
def test_what_ends_vf_of_the_other_file(end: str) -> None:
    assert found(rhythm("VVNNVVN"), rhythm(f"[NN{end}NNN")) == (1, 2)


def test_an_onset_behind_the_window_is_known_before_the_next_and_none_in_it() -> None:
    """It was read by the first search, which is how that one knew where to stop."""
    reference = placed((1000, "V"), (1100, "V"), (1200, "N"), (2000, "V"), (2100, "V"), (2200, "N"))
    before = placed((1000, "V"), (1100, "V"), (1300, "["), (2500, "]"))
    within = placed((1000, "V"), (1100, "V"), (1980, "["), (2500, "]"))
    first_in_it = placed((1000, "V"), (1100, "V"), (1200, "N"), (1980, "["), (2500, "]"))
    assert found(reference, before) == (2, 2)
    assert found(reference, within) == (1, 2)
    assert found(reference, first_in_it) == (2, 2)


def test_the_onset_of_af_parts_ventricular_beats_of_the_other_file() -> None:
    assert found(rhythm("NVV|VN"), rhythm("NVV{VN")) == (0, 1)
    assert found(rhythm("{NVV|VN"), rhythm("{NVV}VN")) == (1, 1)


@pytest.mark.parametrize(("late", "found"), [(54, 1), (55, 0)])
def test_the_match_window_reaches_150_ms_beyond_the_run(late: int, found: int) -> None:
    result = compare_runs(rhythm("NVVN"), rhythm("NVVN", 1000 + late), FROM_START)
    assert result.ventricular.couplets.tps == found


def test_the_table_of_no_record_and_of_nothing() -> None:
    assert len(lines([], VE)) == 1
    printed = lines([compare_runs(rhythm(""), rhythm(""))], SVE)
    assert printed[2] == (" 100" + "   0" * 12 + "    -   -   -   -   -   -")
    assert printed[-3:] == [
        "Total couplets: 0  Total short runs: 0  Total long runs: 0",
        "",
        "Summary of results from 1 records",
    ]

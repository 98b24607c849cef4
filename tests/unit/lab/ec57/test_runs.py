"""The rules of the run-by-run comparison, one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
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


def rhythm(text: str, first: int = 1000, step: int = 300) -> Annotations:
    """Lay beats and marks out evenly; `{` is the onset of AF, `<` of flutter, `}` the end."""
    aux = {"{": "(AFIB", "<": "(AFL", "}": "(N"}
    return make_annotations(
        [first + step * i for i in range(len(text))],
        ["+" if mark in aux else mark for mark in text],
        aux=[aux.get(mark, "") for mark in text],
        rate_hz=360.0,
        n_samples=100_000,
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
        ("NVVVVVVVN", [7]),
        ("NVVNVV", [2, 2]),
        ("NV~|V", [2]),
        ("NV{VN", [2]),
        ("N[!!!]VN", [7]),
        ("NV[]N", [6]),
        ("VQV", []),
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
        ("N{NNVNNVN}N", [8, 2]),
        ("N<NN}N", [8]),
        ("NA{NNVN", [3]),
        ("N{<{N", [7]),
        ("A[A]", []),
    ],
)
def test_supraventricular_runs(text: str, supraventricular: list[int]) -> None:
    assert lengths(text, SVE) == supraventricular


def test_a_run_begins_with_the_comparison() -> None:
    annotations = rhythm("VVVV")
    assert runs(annotations, VE, 1300, 2000) == [Run(1300, 1900, 3)]
    assert runs(annotations, VE, 1300, 1700) == [Run(1300, 1600, 2)]


def test_a_rhythm_that_has_begun_before_is_a_long_run_at_once() -> None:
    assert runs(rhythm("{NNVN"), SVE, 1500, 9000) == [Run(1500, 1600, 7)]


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


@pytest.mark.parametrize(
    ("hidden_from", "subtype", "false"),
    [
        (("reference",), 3, 1),
        (("reference",), 1, 0),
        (("test",), 3, 0),
        (("reference", "test"), 3, 0),
    ],
)
def test_an_artefact_that_only_the_reference_marks(
    hidden_from: tuple[str, ...], subtype: int, false: int
) -> None:
    """As one run of 203 seems to be judged; a file stays perfect against itself."""
    both = {}
    for side, text in (("reference", "{NN~NN"), ("test", "V{NN~NNVN")):
        marks = rhythm(text, 1000 if side == "reference" else 700)
        symbols = tuple("|" if s == "~" and side in hidden_from else s for s in marks.symbol)
        subtypes = np.array([subtype * (symbol == "|") for symbol in symbols])
        both[side] = replace(marks, symbol=symbols, subtype=subtypes)
    table = compare_runs(both["reference"], both["test"], FROM_START).supraventricular
    assert (table.long.tpp, table.long.fp) == (1 - false, false)


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

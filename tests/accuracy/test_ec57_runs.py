"""Run by run, line by line what `rxr` and `sumstats` print."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tocsin_agent.cli import cli
from tocsin_agent.lab.ec57.folders import Folders
from tocsin_agent.lab.ec57.runs import RunKind, RunResult, compare_runs, lines

pytestmark = pytest.mark.records


@pytest.fixture
def folders(records: Path, ec57: Path) -> Folders:
    return Folders(records / "mitdb", "atr", "prt", ec57 / "mitdb")


@pytest.fixture
def results(folders: Folders) -> list[RunResult]:
    return [compare_runs(*pair) for pair in folders.find().read(beats=True)]


def expected(ec57: Path, table: str) -> list[str]:
    return (ec57 / "expected" / f"mitdb_rxr_{table}.txt").read_text(encoding="utf-8").splitlines()


def test_the_table_of_ventricular_runs(results: list[RunResult], ec57: Path) -> None:
    printed = lines(results, RunKind.VENTRICULAR, statistics=False)
    assert printed == expected(ec57, "ventricular")


def test_the_statistics_of_ventricular_runs(results: list[RunResult], ec57: Path) -> None:
    assert lines(results, RunKind.VENTRICULAR) == expected(ec57, "ventricular_sumstats")


def test_the_table_of_supraventricular_runs(results: list[RunResult], ec57: Path) -> None:
    printed = lines(results, RunKind.SUPRAVENTRICULAR, statistics=False)
    assert printed == expected(ec57, "supraventricular")


def test_the_statistics_of_supraventricular_runs(results: list[RunResult], ec57: Path) -> None:
    assert lines(results, RunKind.SUPRAVENTRICULAR) == expected(ec57, "supraventricular_sumstats")


def test_the_command_prints_both_tables(folders: Folders, ec57: Path) -> None:
    args = ["ec57", "rxr", "--records", str(folders.records), "--reference", "atr"]
    result = CliRunner().invoke(cli, [*args, "--test", "prt", "--test-dir", str(folders.test_dir)])
    assert result.exit_code == 0, result.output
    ventricular = expected(ec57, "ventricular_sumstats")
    supraventricular = expected(ec57, "supraventricular_sumstats")
    assert result.stdout.splitlines() == [*ventricular, "", *supraventricular]


def test_a_reference_is_perfect_against_itself(records: Path) -> None:
    for pair in Folders(records / "mitdb", "atr", "atr").find().read(beats=True):
        found = compare_runs(*pair)
        for table in (found.ventricular, found.supraventricular):
            for tally in (table.couplets, table.short, table.long):
                assert (tally.fn, tally.fp) == (0, 0), pair[0].record
                assert tally.tps == tally.tpp

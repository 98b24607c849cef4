"""Beat by beat, line by line what `bxb` and `sumstats` print."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tocsin_agent.cli import cli
from tocsin_agent.lab.ec57 import beats
from tocsin_agent.lab.ec57.folders import Folders

pytestmark = pytest.mark.records


@pytest.fixture
def folders(records: Path, ec57: Path) -> Folders:
    return Folders(records / "mitdb", "atr", "prt", ec57 / "mitdb")


@pytest.fixture
def results(folders: Folders) -> list[beats.BeatComparison]:
    return [beats.compare_beats(*pair) for pair in folders.find().read(beats=True)]


def expected(ec57: Path, table: str) -> list[str]:
    return (ec57 / "expected" / f"mitdb_{table}.txt").read_text(encoding="utf-8").splitlines()


def test_the_table_of_beats(results: list[beats.BeatComparison], ec57: Path) -> None:
    assert beats.lines(results, statistics=False) == expected(ec57, "bxb")


def test_the_statistics_of_beats(results: list[beats.BeatComparison], ec57: Path) -> None:
    assert beats.lines(results) == expected(ec57, "bxb_sumstats")


def test_the_table_of_shutdowns(results: list[beats.BeatComparison], ec57: Path) -> None:
    assert beats.shutdown_lines(results, statistics=False) == expected(ec57, "bxb_shutdown")


def test_the_statistics_of_shutdowns(results: list[beats.BeatComparison], ec57: Path) -> None:
    assert beats.shutdown_lines(results) == expected(ec57, "bxb_shutdown_sumstats")


def command(folders: Folders, *more: str) -> str:
    args = ["ec57", "bxb", "--records", str(folders.records), "--reference", folders.reference]
    args += ["--test", folders.test, "--test-dir", str(folders.test_dir), *more]
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(("table", "name"), [("beats", "bxb"), ("shutdown", "bxb_shutdown")])
def test_the_command_prints_the_same(folders: Folders, ec57: Path, table: str, name: str) -> None:
    printed = command(folders, "--table", table)
    assert printed.splitlines() == expected(ec57, f"{name}_sumstats")
    assert printed.endswith("records\n")


def test_json_and_csv_have_the_figures_of_the_table(folders: Folders) -> None:
    document = json.loads(command(folders, "--format", "json"))
    table = document["beats"]
    assert len(table["records"]) == len(document["shutdown"]["records"]) == 48
    assert (document["missing"], document["notes"]) == ({}, [])
    assert round(table["gross"]["qrs_se"], 2) == 95.93
    assert round(table["gross"]["sveb_ppv"], 2) == 62.80
    assert round(table["average"]["rr_error_ms"], 2) == 207.63
    assert table["sum"]["Vv"] == table["sum"]["veb_tp"] == 5561

    rows = list(csv.DictReader(io.StringIO(command(folders, "--format", "csv"))))
    first, gross = rows[0], next(row for row in rows if row["record"] == "gross")
    assert (first["table"], first["record"], first["Vv"]) == ("beats", "100", "1")
    assert float(first["rr_error_ms"]) == table["records"][0]["rr_error_ms"]
    assert float(gross["qrs_ppv"]) == table["gross"]["qrs_ppv"]


def test_a_reference_is_perfect_against_itself(records: Path) -> None:
    for pair in Folders(records / "mitdb", "atr", "atr").find().read(beats=True):
        found = beats.compare_beats(*pair)
        assert found.qrs.fn == found.qrs.fp == found.veb.fn == found.veb.fp == 0
        assert found.rr_error_ms == 0


def test_48_records_take_well_under_ten_seconds(folders: Folders) -> None:
    begun = time.perf_counter()
    command(folders)
    assert time.perf_counter() - begun < 10

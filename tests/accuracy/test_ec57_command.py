"""What `tocsin ec57` prints of real records."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tocsin_agent.cli import cli
from tocsin_agent.lab.ec57.beats import compare_beats
from tocsin_agent.lab.ec57.folders import Folders
from tocsin_agent.lab.ec57.runs import compare_runs

pytestmark = pytest.mark.records


@pytest.fixture
def folders(records: Path, ec57: Path) -> Folders:
    return Folders(records / "mitdb", "atr", "prt", ec57 / "mitdb")


def run(*args: str) -> str:
    result = CliRunner().invoke(cli, ["ec57", *args])
    assert result.exit_code == 0, result.output
    return result.stdout


def command(name: str, folders: Folders, *more: str) -> str:
    args = ["--records", str(folders.records), "--reference", folders.reference]
    args += ["--test", folders.test, "--test-dir", str(folders.test_dir)]
    return run(name, *args, *more)


def expected(ec57: Path, table: str) -> list[str]:
    path = ec57 / "expected" / f"mitdb_{table}_sumstats.txt"
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("args", "tables"),
    [
        (("bxb",), ["bxb"]),
        (("bxb", "--table", "shutdown"), ["bxb_shutdown"]),
        (("rxr",), ["rxr_ventricular", "rxr_supraventricular"]),
        (("epicmp-af",), ["epicmp_af"]),
        (("epicmp-vf",), ["epicmp_vf"]),
    ],
)
def test_the_command_prints_the_tables(
    folders: Folders, ec57: Path, args: tuple[str, ...], tables: list[str]
) -> None:
    printed = command(args[0], folders, *args[1:])
    wanted = "\n\n".join("\n".join(expected(ec57, table)) for table in tables)
    assert printed == wanted + "\n"


def test_the_short_options_of_the_reference_programs(folders: Folders, ec57: Path) -> None:
    where = ("--test-dir", str(folders.test_dir))
    short = run("bxb", "-r", "mitdb/100", "-a", "atr", "prt", *where)
    assert short.splitlines()[:2] == expected(ec57, "bxb")[:2]
    options = ("-f", "6:00", "-t", "7:00", "-w", "0.1")
    long = ("--record", "100", "--start", "6:00", "--end", "7:00", "--match-window", "0.1")
    assert run("bxb", "-r", "mitdb/100", "-a", "atr", "prt", *where, *options) == command(
        "bxb", folders, *long
    )


def test_json_and_csv_have_the_figures_of_the_table(folders: Folders) -> None:
    document = json.loads(command("bxb", folders, "--format", "json"))
    table = document["beats"]
    assert len(table["records"]) == len(document["shutdown"]["records"]) == 48
    assert (document["missing"], document["notes"]) == ({}, [])
    assert round(table["gross"]["qrs_se"], 2) == 95.93
    assert round(table["gross"]["sveb_ppv"], 2) == 62.80
    assert round(table["average"]["rr_error_ms"], 2) == 207.63
    assert table["sum"]["Vv"] == table["sum"]["veb_tp"] == 5561
    assert table["gross_counts"]["veb_se"] == {"part": 5561, "of": 6101}
    assert table["average_records"]["qrs_se"] == 48

    rows = list(csv.DictReader(io.StringIO(command("bxb", folders, "--format", "csv"))))
    first, gross = rows[0], next(row for row in rows if row["record"] == "gross")
    assert (first["table"], first["record"], first["Vv"]) == ("beats", "100", "1")
    assert float(first["rr_error_ms"]) == table["records"][0]["rr_error_ms"]
    assert float(gross["qrs_ppv"]) == table["gross"]["qrs_ppv"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("bxb", "VEB +P 3.03 % (1 of 33) average 3.03 % of 1 record"),
        ("rxr", "couplets Se - (0 of 0)"),
        ("epicmp-vf", "duration Se - (0.0 of 0.0 s)"),
    ],
)
def test_the_report_states_the_count_of_every_figure(
    folders: Folders, name: str, line: str
) -> None:
    printed = command(name, folders, "--record", "100", "--format", "text")
    assert line in [" ".join(one.split()) for one in printed.splitlines()]


def test_flutter_may_be_excluded(folders: Folders) -> None:
    more = ("--record", "222", "--format", "json")
    plain = json.loads(command("epicmp-af", folders, *more))
    excluding = json.loads(command("epicmp-af", folders, *more, "--exclude-flutter"))
    by_standard, without = (d["episodes"]["records"][0] for d in (plain, excluding))
    assert round(by_standard["duration_ppv"]) == 62
    assert round(without["duration_ppv"]) == 85
    assert by_standard["duration_se"] == without["duration_se"]


def test_a_reference_is_perfect_against_itself(records: Path) -> None:
    """But for a run that AF began and a V ended before its first beat, which `rxr` misses."""
    missed = {}
    for pair in Folders(records / "mitdb", "atr", "atr").find().read(beats=True):
        beats, found = compare_beats(*pair), compare_runs(*pair)
        assert beats.qrs.fn == beats.qrs.fp == beats.veb.fn == beats.veb.fp == 0
        assert beats.rr_error_ms == 0
        for table in (found.ventricular, found.supraventricular):
            for tally in (table.couplets, table.short, table.long):
                assert (tally.fn, tally.tps) == (tally.fp, tally.tpp)
                if tally.fn:
                    missed[found.record] = tally.fn
    assert missed == {"201": 1, "217": 1}

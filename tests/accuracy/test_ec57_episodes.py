"""Episode by episode, line by line what `epicmp` and `sumstats` print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tocsin_agent.cli import cli
from tocsin_agent.lab.ec57.episodes import EpisodeKind, compare_episodes, lines
from tocsin_agent.lab.ec57.folders import Folders

pytestmark = pytest.mark.records

AF, VF = EpisodeKind.AF, EpisodeKind.VF
TABLES = pytest.mark.parametrize(
    ("database", "reference", "kind"),
    [("mitdb", "atr", AF), ("mitdb", "atr", VF), ("vfdb", "vfm", VF)],
    ids=["mitdb-af", "mitdb-vf", "vfdb-vf"],
)


def expected(ec57: Path, database: str, kind: EpisodeKind, more: str = "") -> list[str]:
    name = f"{database}_epicmp_{kind.value.lower()}{more}.txt"
    return (ec57 / "expected" / name).read_text(encoding="utf-8").splitlines()


@TABLES
def test_the_table_and_its_statistics(
    records: Path, ec57: Path, database: str, reference: str, kind: EpisodeKind
) -> None:
    folders = Folders(records / database, reference, "prt", ec57 / database)
    results = [compare_episodes(*pair, kind) for pair in folders.find().read(beats=False)]
    assert lines(results, kind, statistics=False) == expected(ec57, database, kind)
    assert lines(results, kind) == expected(ec57, database, kind, "_sumstats")


def command(records: Path, ec57: Path, database: str, reference: str, *more: str) -> str:
    args = ["--records", str(records / database), "--reference", reference]
    args += ["--test", "prt", "--test-dir", str(ec57 / database)]
    result = CliRunner().invoke(cli, ["ec57", *more, *args])
    assert result.exit_code == 0, result.output
    return result.stdout


@TABLES
def test_the_command_prints_the_same(
    records: Path, ec57: Path, database: str, reference: str, kind: EpisodeKind
) -> None:
    printed = command(records, ec57, database, reference, f"epicmp-{kind.value.lower()}")
    assert printed.splitlines() == expected(ec57, database, kind, "_sumstats")


def test_flutter_may_be_excluded(records: Path, ec57: Path) -> None:
    more = ("epicmp-af", "--record", "222", "--format", "json")
    plain = json.loads(command(records, ec57, "mitdb", "atr", *more))
    excluding = json.loads(command(records, ec57, "mitdb", "atr", *more, "--exclude-flutter"))
    by_standard, without = (d["episodes"]["records"][0] for d in (plain, excluding))
    assert round(by_standard["duration_ppv"]) == 62
    assert round(without["duration_ppv"]) == 85
    assert by_standard["duration_se"] == without["duration_se"]

"""Every table is, to the character, the one that the reference programs print.

The sets of `stress` are far rougher than the first: beats closer than a refractory period, runs
within each other's match window, false AF and VF, shutdowns, marks out of place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tocsin_agent.lab.ec57 import beat_tables, episodes, runs
from tocsin_agent.lab.ec57.beats import compare_beats
from tocsin_agent.lab.ec57.episodes import EpisodeKind, compare_episodes
from tocsin_agent.lab.ec57.folders import Folders
from tocsin_agent.lab.ec57.runs import RunKind, compare_runs

pytestmark = pytest.mark.records


class Table(NamedTuple):
    """One table: how a record is compared, and how the results are printed."""

    compare: Callable[..., object]
    lines: Callable[..., list[str]]
    arguments: tuple[object, ...] = ()  # of either, behind their own


TABLES = {
    "bxb": Table(compare_beats, beat_tables.lines),
    "bxb_shutdown": Table(compare_beats, beat_tables.shutdown_lines),
    "rxr_ventricular": Table(
        compare_runs, lambda results, **how: runs.lines(results, RunKind.VENTRICULAR, **how)
    ),
    "rxr_supraventricular": Table(
        compare_runs, lambda results, **how: runs.lines(results, RunKind.SUPRAVENTRICULAR, **how)
    ),
    "epicmp_af": Table(compare_episodes, episodes.lines, (EpisodeKind.AF,)),
    "epicmp_vf": Table(compare_episodes, episodes.lines, (EpisodeKind.VF,)),
}


def printed(table: Table, folders: Folders, *, statistics: bool = True) -> Sequence[str]:
    pairs = folders.find().read(beats=False)
    results = [table.compare(*pair, *table.arguments) for pair in pairs]
    return table.lines(results, *table.arguments, statistics=statistics)


def expected(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", TABLES)
def test_the_first_set(records: Path, ec57: Path, name: str) -> None:
    folders = Folders(records / "mitdb", "atr", "prt", ec57 / "mitdb")
    of = ec57 / "expected"
    without = printed(TABLES[name], folders, statistics=False)
    assert without == expected(of / f"mitdb_{name}.txt")
    assert printed(TABLES[name], folders) == expected(of / f"mitdb_{name}_sumstats.txt")


def test_the_vf_of_vfdb(records: Path, ec57: Path) -> None:
    folders = Folders(records / "vfdb", "vfm", "prt", ec57 / "vfdb")
    vf, of = TABLES["epicmp_vf"], ec57 / "expected"
    assert printed(vf, folders, statistics=False) == expected(of / "vfdb_epicmp_vf.txt")
    assert printed(vf, folders) == expected(of / "vfdb_epicmp_vf_sumstats.txt")


@pytest.mark.parametrize("rough", ["1", "2", "3", "4"])
@pytest.mark.parametrize("name", TABLES)
def test_the_rough_sets(records: Path, ec57: Path, name: str, rough: str) -> None:
    of = ec57 / "stress" / rough
    folders = Folders(records / "mitdb", "atr", "tst", of)
    assert printed(TABLES[name], folders) == expected(of / f"expected_{name}_sumstats.txt")

"""`tocsin waves`: the delineation of P, QRS and T waves, compared with annotated leads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from tocsin_agent.cli import ExitCode


@click.command("waves")
@click.argument("database", default="ludb")
@click.option("--records", "folder", type=click.Path(path_type=Path, file_okay=False, exists=True),
              help="Folder of the databases.  [default: TOCSIN_RECORDS or cache]")  # fmt: skip
@click.option("--half", "which", type=click.Choice(["even", "odd", "all"]), default="even",
              show_default=True,
              help="Records by number: the constants were chosen on odd ones.")  # fmt: skip
@click.option(
    "--leads", is_flag=True, help="Show each lead, not only lead II and all leads together."
)
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              help="Write the result to FILE, or to standard output as -.")  # fmt: skip
def command(database: str, folder: Path | None, which: str, leads: bool, file: Path | None) -> int:
    """Delineate the waves of DATABASE (a name or a folder) and compare them with its annotations.

    Each lead is processed alone, from its samples to its beats and their waves. A lead L of a
    record R needs the annotation file R.L, as in ludb: P waves p, QRS complexes N, T waves t, each
    between ( and ). Waves are matched within 150 ms. The table has the mean and the standard
    deviation (SD) of the error, the tolerance of the CSE working party for the SD (with ! where it
    is exceeded), sensitivity (Se) and positive predictivity (+P). Exit code 4 if no record could be
    evaluated.

    \b
    tocsin fetch ludb
    tocsin waves ludb
    tocsin waves ludb --half all --leads --json waves.json
    tocsin waves path/to/folder --half all
    """  # noqa: D301 - \b keeps click from joining the lines
    from tocsin_agent.lab.evaluate import select
    from tocsin_agent.lab.evaluate.waves import evaluate_waves, half

    selection = select(database, folder)
    if which != "all":
        selection = selection._replace(
            records=half(selection.records, which),
            missing=half(selection.missing, which),
            subset=which,
        )
    result = evaluate_waves(selection, progress=_progress)
    text = json.dumps(result, indent=1)
    if file is not None and str(file) != "-":
        file.write_text(text + "\n", encoding="utf-8")
    click.echo(text if file is not None and str(file) == "-" else _tables(result, leads))
    return ExitCode.OK if result["records"] else ExitCode.SOURCE


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{done}/{of} records", nl=done == of, err=True)


def _tables(result: dict[str, Any], every_lead: bool) -> str:
    which = f", {result['subset']} records" if result["subset"] else ""
    of = f"{len(result['records'])} records, {result['leads']} leads, each processed alone"
    lines = [f"{result['database']}{which}: {of}"]
    for name, group in result["groups"].items():
        if every_lead or name in {"all leads", "ii", "II"}:
            lines += ["", f"{name:<12}{'mean ms':>8}{'SD ms':>8}{'CSE':>7}{'n':>8}"]
            lines += [_point(point, measured) for point, measured in group["points"].items()]
            lines += [
                f"  {kind:<10} Se {_figure(w['se'])} of {w['hit'] + w['missed']}"
                f"  +P {_figure(w['ppv'])} of {w['hit'] + w['false']}"
                for kind, w in group["waves"].items()
            ]
    lines += ["", f"{'P wave present, by beat':<28}{'Se':>7}{'Sp':>7}{'with P':>9}{'without':>9}"]
    lines += [
        f"  {rhythm or 'no rhythm given':<26}{_figure(p['se']):>7}{_figure(p['sp']):>7}"
        f"{p['with_p']:>9}{p['without_p']:>9}"
        for rhythm, p in result["p_by_rhythm"].items()
    ]
    lines += [f"missing: {', '.join(result['missing'])}"] if result["missing"] else []
    lines += [f"failed: {record}: {why}" for record, why in result["failed"].items()]
    return "\n".join(lines)


def _point(name: str, measured: dict[str, Any]) -> str:
    tolerance = measured["cse_ms"]
    held = "" if tolerance is None else f"{tolerance:>6.1f}{' ' if measured['within_cse'] else '!'}"
    line = f"  {name:<10}{measured['mean_ms']:>8.1f}{measured['sd_ms']:>8.1f}{held:>7}"
    return f"{line}{measured['n']:>8}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"

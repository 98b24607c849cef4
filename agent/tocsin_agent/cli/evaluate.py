"""`tocsin evaluate`: the agent on a database, compared with its annotations."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli.common import made
from tocsin_agent.cli.noise_stress import Ratios

if TYPE_CHECKING:
    from tocsin_agent.lab.evaluate import Selection

EC13 = "ec13"


@click.command()
@click.argument("database")
@click.option("--records", "folder", type=click.Path(path_type=Path, file_okay=False, exists=True),
              help="Folder of the databases.  [default: TOCSIN_RECORDS or cache]")  # fmt: skip
@click.option(
    "--leads", default="all", show_default=True, help="Leads: `all`, numbers such as 0,1, or names."
)
@click.option("--subset", help="ds1, ds2, or a file with one record name a line.")
@click.option("--reference", help="Annotator of the reference.  [default: that of the database]")
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes.  [default: one a core]")
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Scheduler of a trusted Dask cluster with the same paths.",
)
@click.option(
    "--verifiers",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of models of alarms in folds, by record.  [default: the shipped model]",
)
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              help="Write the result to FILE, or to standard output as -.")  # fmt: skip
@click.option("--report", "report", type=click.Path(path_type=Path, file_okay=False),
              help="Write a report with figures into this folder.")  # fmt: skip
@click.option("--noise", help="Also evaluate with this noise added: em, bw, ma or a record.")
@click.option("--snr", type=Ratios(), default="24,18,12,6,0,-6", show_default=True,
              help="Signal-to-noise ratios of --noise in dB.")  # fmt: skip
def command(  # noqa: PLR0917  # click passes them by name
    database: str,
    folder: Path | None,
    leads: str,
    subset: str | None,
    reference: str | None,
    jobs: int | None,
    scheduler: str | None,
    verifiers: Path | None,
    file: Path | None,
    report: Path | None,
    noise: str | None,
    snr: tuple[float, ...],
) -> int:
    """Evaluate the agent on a database by ANSI/AAMI EC57.

    Beats are matched within 150 ms from 5:00 on. Paced records are left out of the classification.
    Figures are gross, with bootstrap intervals over records. Alarms are compared with those that
    the same rules raise on the beats of the reference. Missing and failed records are listed; exit
    code 4 if no record could be evaluated.

    \b
    tocsin evaluate mitdb --subset ds2 --json -
    tocsin evaluate svdb --leads 0 --report out
    tocsin evaluate path/to/folder --jobs 2
    tocsin evaluate mitdb --report out --noise em --snr 24,18,12,6,0,-6
    tocsin evaluate mitdb --scheduler tcp://10.0.0.5:8786
    tocsin evaluate s3://bucket/mitdb --scheduler tcp://10.0.0.5:8786
    tocsin evaluate cinc2015_long --verifiers .cache/alarms/folds
    tocsin evaluate ec13 --json -

    `ec13` is no database: it generates the waveforms of ANSI/AAMI EC13 and IEC 60601-2-27 and
    reports each clause; of the options it takes --json alone.

    The model that verifies ventricular alarms was trained on cinc2015, cinc2015_long, cudb, vfdb,
    svdb and part of mitdb: judge these by models in folds (`make cross-validate-alarms`).
    A database in an object store (`s3://`, `gs://`, `file://`; extra `objects`) is read record by
    record by the workers: docs/scale.md.
    With --noise, records 118 and 119 of mitdb, or every record of another selection, are evaluated
    again with noise added as nst adds it, on this machine. The result has the noisy minutes under
    `snr`.
    """  # noqa: D301 - \b keeps click from joining the lines
    if jobs is not None and scheduler is not None:
        raise click.UsageError(
            "--jobs is for this machine, --scheduler for others: give one of them"
        )
    if database == EC13:
        return _ec13(file)
    if "://" in database and (report is not None or noise is not None or folder is not None):
        raise click.UsageError(
            "--records, --report and --noise read records on this machine: get them here first"
        )
    from tocsin_agent.lab.evaluate import evaluate

    chosen = None if leads == "all" else tuple(part.strip() for part in leads.split(","))
    with _selected(database, folder, subset) as selection:
        result = evaluate(
            selection,
            leads=chosen,
            reference=reference,
            jobs=jobs,
            scheduler=scheduler,
            verifiers=verifiers,
            progress=_progress,
        )
    noisy = None
    if noise is not None:
        from tocsin_agent.lab.evaluate.stress import stressed

        noisy = stressed(selection, noise, snr, jobs=jobs)
    result |= made() | {"snr": noisy}
    text = _written(result, file)
    if report is not None:
        from tocsin_agent.lab.evaluate.excerpts import excerpts_of
        from tocsin_agent.lab.evaluate.report import write_report

        page = write_report(result, report, excerpts_of(selection, chosen, reference))
        click.echo(f"report: {page}", err=True)
    click.echo(text if file is not None and str(file) == "-" else _table(result))
    return ExitCode.OK if result["records"] else ExitCode.SOURCE


@contextmanager
def _selected(database: str, folder: Path | None, subset: str | None) -> Iterator[Selection]:
    """Select the records of a folder, or of an object store with its lists in a folder here."""
    from tocsin_agent.lab.evaluate.databases import select, select_in_store
    from tocsin_agent.lab.evaluate.objects import is_url

    if not is_url(database):
        yield select(database, folder, subset)
        return
    with tempfile.TemporaryDirectory(prefix="tocsin-lists-") as lists:
        yield select_in_store(database, Path(lists), subset)


def _ec13(file: Path | None) -> int:
    """Judge the clauses of the standards for heart rate meters."""
    from tocsin_agent.lab.evaluate.ec13 import as_result, as_table, run_suite

    outcomes = run_suite()
    text = _written(as_result(outcomes) | made(), file)
    click.echo(text if file is not None and str(file) == "-" else as_table(outcomes))
    return ExitCode.OK


def _written(result: dict[str, Any], file: Path | None) -> str:
    """Return a result as JSON, written into a file where one is named."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(result), indent=1).decode()
    if file is not None and str(file) != "-":
        file.write_text(text + "\n", encoding="utf-8")
    return text


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{done}/{of} records", nl=done == of, err=True)


def _table(result: dict[str, Any]) -> str:
    rows = [f"{result['database']}: {len(result['records'])} records, {result['hours']:.1f} h"]
    scores = {kind: result[kind] for kind in ("qrs", "veb", "sveb") if result[kind] is not None}
    rows += [
        f"  {kind.upper():<5} Se {_figure(score['se'], score['ci95']['se'])}"
        f" of {score['tp'] + score['fn']}   "
        f"+P {_figure(score['ppv'], score['ci95']['ppv'])} of {score['tp'] + score['fp']}   "
        f"missed {score['fn']}, false {score['fp']}"
        for kind, score in scores.items()
    ]
    for kind in ("af", "vf"):
        if (score := result[kind]) is not None and score["episode_se"] is not None:
            shares = ", ".join(
                f"{name.replace('_', ' ')} {_figure(score[name], None)} of {of:g}"
                f"{' s' if name.startswith('duration') else ''}"
                for name, (_, of) in score["counts"].items()
            )
            rows.append(f"  {kind.upper():<5} {shares}")
    for code, a in result["alarms"].items():
        rows.append(
            f"  {code:<26} true {a['true']:>4}  false {a['false']:>4}  missed {a['missed']:>4}  "
            f"{a['false_per_24h']:.1f} false in 24 h"
        )
    rows += _alarm_rows(result)
    if (f1 := result["rhythm_f1"]) is not None:
        by_class = ", ".join(
            f"{label} {_figure(f1['f1'][label], None)} of {sum(row)}"
            for label, row in zip(f1["labels"], f1["confusion"], strict=True)
        )
        rows.append(f"  rhythm F1  {_figure(f1['mean'], None)} (mean of N, A, O): {by_class}")
    if (normal := result["normal_rhythm"]) is not None:
        counts = ", ".join(
            f"{label} {normal[label]['count']} in {normal[label]['records']} records "
            f"({normal[label]['per_1000_beats']:.2f} of 1,000 beats)"
            for label in "SV"
        )
        rows.append(
            f"  false in normal rhythm ({normal['records']} records, {normal['hours']:.1f} h, "
            f"{normal['beats']} beats): {counts}"
        )
    rows += [f"  missing: {', '.join(result['missing'])}"] if result["missing"] else []
    rows += [f"  failed: {record}: {why}" for record, why in result["failed"].items()]
    return "\n".join(rows)


def _alarm_rows(result: dict[str, Any]) -> list[str]:
    """Return the alarms by type, by second and by activity, as far as they are judged."""
    rows = []
    if (challenge := result["challenge_score"]) is not None:
        rows.append(f"  challenge 2015 score {challenge['score']}")
        for kind, c in challenge["by_type"].items():
            lost = f", lost: {', '.join(c['lost'])}" if c["lost"] else ""
            rows.append(
                f"    {kind:<24} {c['score']:.3f}  true kept {c['tp']:>3}, lost {c['fn']:>3}; "
                f"false kept {c['fp']:>3}, suppressed {c['tn']:>3}{lost}"
            )
    if (vf := result["vf_seconds"]) is not None:
        rows.append(
            f"  VF by second  Se {_figure(vf['se'], None)}  first 30 s "
            f"{_figure(vf['first_30_s_se'], None)}  Sp {_figure(vf['sp'], None)}; episodes "
            f"{vf['episodes_alarmed']} of {vf['episodes']}, within 10 s "
            f"{_figure(vf['within_10_s'], None)} %, median {vf['delay_s_median']} s; "
            f"VT {vf['vt_seconds_alarmed']} of {vf['vt_seconds']} s"
        )
    raised = result["raised"]
    for name, group in (("all", raised), *(raised["by_activity"] or {}).items()):
        codes = ", ".join(f"{code} {c['count']}" for code, c in group["by_code"].items())
        rows.append(
            f"  raised, {name} ({group['hours']:.1f} h): high {group['high']['per_24h']} in 24 h"
            f"{'; ' + codes if codes else ''}"
        )
    return rows


def _figure(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:6.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")

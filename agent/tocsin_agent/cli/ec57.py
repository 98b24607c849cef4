"""`tocsin ec57`: annotation files judged as ANSI/AAMI EC57 asks."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

if TYPE_CHECKING:
    from tocsin_agent.lab.ec57.annotations import Annotations
    from tocsin_agent.lab.ec57.episodes import EpisodeKind, EpisodeOptions
    from tocsin_agent.lab.ec57.folders import Folders
    from tocsin_agent.lab.ec57.statistics import Aggregate, Row

Format = Literal["wfdb", "text", "json", "csv"]


class Table(NamedTuple):
    """One table of a report.

    Parameters
    ----------
    name : str
        What JSON and CSV call it.
    rows : sequence of Row
        One a record.
    lines : sequence of str
        The reference programs' text.
    """

    name: str
    rows: Sequence[Row]
    lines: Sequence[str]


class Request(NamedTuple):
    """What the options that every comparison has come down to.

    Parameters
    ----------
    folders : Folders
        The files.
    allow_missing : bool
        Whether records without both files are named and left out, or an error.
    form : str
        `wfdb`, `text`, `json` or `csv`.
    start_s, end_s : float
        The part to compare; `end_s` None for the whole.
    """

    folders: Folders
    allow_missing: bool
    form: Format
    start_s: float
    end_s: float | None


class Time(click.ParamType[float]):
    """Seconds, or H:M:S or M:S, as the WFDB programs take times."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        try:
            parts = [float(part) for part in str(value).split(":")]
        except ValueError:
            parts = []
        if not 1 <= len(parts) <= 3 or not all(0 <= part < float("inf") for part in parts):
            self.fail(f"{value!r} is no time: seconds, M:S or H:M:S", param, ctx)
        return functools.reduce(lambda total, part: 60 * total + part, parts, 0.0)


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_OF_EVERY_COMPARISON = (
    click.option(
        "--records",
        type=_FOLDER,
        help="Folder of headers and references.  [default: where -r finds the record]",
    ),
    click.option("--reference", metavar="EXT", help="Reference annotator."),
    click.option("--test", metavar="EXT", help="Annotator to judge."),
    click.option(
        "-a",
        "annotators",
        nargs=2,
        metavar="REFERENCE TEST",
        help="Both annotators at once.",
    ),
    click.option("--test-dir", type=_FOLDER, help="Folder of its files.  [default: --records]"),
    click.option(
        "-r",
        "--record",
        "names",
        multiple=True,
        metavar="NAME",
        help="Only this record, such as 100 or mitdb/100; may be given several times.  "
        "[default: all]",
    ),
    click.option(
        "--allow-missing",
        is_flag=True,
        help="Name records that lack a file and go on, instead of refusing.",
    ),
    click.option(
        "-f",
        "--start",
        type=Time(),
        default="5:00",
        show_default=True,
        help="End of the learning period; another than the standard's is for development.",
    ),
    click.option(
        "-t",
        "--end",
        type=Time(),
        help="Stop there; 0: where either file ends.  [default: end of the record]",
    ),
    click.option(
        "--format",
        "form",
        type=click.Choice(["wfdb", "text", "json", "csv"]),
        default="wfdb",
        show_default=True,
        help="The reference programs' lines; every figure with its count; or for programs.",
    ),
)


def comparison(judge: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of every comparison; it is called with a `Request`.

    The short ones are those of the reference programs.
    """

    @functools.wraps(judge)
    def asked(
        *,
        records: Path | None,
        reference: str | None,
        test: str | None,
        annotators: tuple[str, str] | None,
        test_dir: Path | None,
        names: tuple[str, ...],
        allow_missing: bool,
        start: float,
        end: float | None,
        form: Format,
        **others: object,
    ) -> None:
        from tocsin_agent.lab.ec57.folders import Folders

        if end and end <= start:
            raise click.UsageError(f"--end {end:g} s is not after --start {start:g} s")
        truth, judged = _annotators(reference, test, annotators)
        where, which = (records, names) if records else _found_records(names)
        folders = Folders(where, truth, judged, test_dir, which)
        judge(Request(folders, allow_missing, form, start, end), **others)

    for option in reversed(_OF_EVERY_COMPARISON):
        asked = option(asked)
    return asked


def _annotators(
    reference: str | None, test: str | None, both: tuple[str, str] | None
) -> tuple[str, str]:
    if both and not (reference or test):
        return both
    if reference and test and not both:
        return reference, test
    raise click.UsageError("name both annotators: -a REFERENCE TEST, or --reference and --test")


def _found_records(names: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    """Find records given by name or path; return their folder and their names in it."""
    from tocsin_agent.sources.files.wfdb_record import find_record

    if not names:
        raise click.UsageError(
            "name the records: -r RECORD, or --records FOLDER for all of a folder"
        )
    paths = [find_record(name)[0] for name in names]
    folders = {path.parent for path in paths}
    if len(folders) > 1:
        raise click.UsageError("records of one folder at a time: use --records")
    return folders.pop(), tuple(path.name for path in paths)


def report(
    name: str,
    request: Request,
    judge: Callable[[Annotations, Annotations], Any],
    tables: Callable[[list[Any]], list[Table]],
    *,
    beats: bool,
) -> None:
    """Compare every record and print the tables.

    Parameters
    ----------
    name : str
        Of the comparison.
    request : Request
        What was asked for.
    judge : callable
        From reference and test annotations of a record to its result.
    tables : callable
        From all results to the tables.
    beats : bool
        Whether a reference without beats is the wrong file.
    """
    found = request.folders.find()
    found.require(every=not request.allow_missing)
    for record, lacks in found.missing.items():
        click.echo(f"left out: {record} has {lacks}", err=True)
    results = []
    notes: list[str] = []
    for reference, test in found.read(beats=beats):
        results.append(judge(reference, test))
        notes += [*reference.notes, *test.notes]
    for note in notes:
        click.echo(f"note: {note}", err=True)
    made = tables(results)
    if request.form in {"wfdb", "text"}:
        click.echo("\n\n".join("\n".join(_readable(table, request)) for table in made))
    elif request.form == "csv":
        click.echo(_as_csv(made), nl=False)
    else:
        document = {
            "comparison": name,
            "reference": request.folders.reference,
            "test": request.folders.test,
            "start_s": request.start_s,
            "end_s": request.end_s,
            **{table.name: _as_object(table.rows) for table in made},
            "missing": found.missing,
            "notes": notes,
        }
        click.echo(json.dumps(document, indent=2))


def _readable(table: Table, request: Request) -> Sequence[str]:
    if request.form == "wfdb":
        return table.lines
    from tocsin_agent.lab.ec57.report import in_words

    folders = request.folders
    return in_words(f"{table.name}, {folders.test} against {folders.reference}", table.rows)


def _figures(row: Row) -> dict[str, float | None]:
    ratios = {key: ratio.percent for key, ratio in row.ratios.items()}
    return {**row.sums, **ratios, **row.means}


def _closing(total: Aggregate) -> dict[str, dict[str, float | None]]:
    return {"sum": {**total.sums}, "gross": total.gross, "average": {**total.average}}


def _as_object(rows: Sequence[Row]) -> dict[str, Any]:
    from tocsin_agent.lab.ec57.statistics import aggregate

    records = [{"record": row.record, **_figures(row)} for row in rows]
    total = aggregate(rows)
    pools = {key: {"part": part, "of": of} for key, (part, of) in total.pools.items()}
    return {
        "records": records,
        **_closing(total),
        "gross_counts": pools,
        "average_records": {**total.averaged},
    }


def _as_csv(tables: Sequence[Table]) -> str:
    """Return one table after the other, a line a record, then sum, gross and average."""
    from tocsin_agent.lab.ec57.statistics import aggregate

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for table in tables:
        records = [(row.record, _figures(row)) for row in table.rows]
        columns = list(records[0][1])
        writer.writerow(["table", "record", *columns])
        for label, row in (*records, *_closing(aggregate(table.rows)).items()):
            writer.writerow([table.name, label, *(row.get(column) for column in columns)])
    return out.getvalue()


@click.group()
def command() -> None:
    """Judge annotation files as ANSI/AAMI EC57 asks.

    The figures are those of the WFDB Software Package's programs of the same names, with the Sum,
    Gross and Average rows of its `sumstats`, and so are the short options. Needs no signal and no
    extra: only headers and annotation files. Repairs of a file are noted on standard
    error.

    \b
    tocsin ec57 bxb -r mitdb/100 -a atr test
    tocsin ec57 rxr --records mitdb --reference atr --test test --format text
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command()
@comparison
@click.option(
    "-w",
    "--match-window",
    type=Time(),
    default="0.15",
    show_default=True,
    metavar="SECONDS",
    help="Largest distance between two beats that match; the standard's is 0.15 s.",
)
@click.option(
    "--table",
    type=click.Choice(["beats", "shutdown"]),
    default="beats",
    show_default=True,
    help="Which table to print as wfdb or text; json and csv have both.",
)
@click.option("--include-vf", is_flag=True, help="Compare within ventricular fibrillation too.")
@click.option("--ignore-shutdown", is_flag=True, help="Count beats missed in shutdowns as missed.")
def bxb(
    request: Request, match_window: float, table: str, include_vf: bool, ignore_shutdown: bool
) -> None:
    """Compare beat by beat."""
    from tocsin_agent.lab.ec57 import beat_tables, beats

    options = beats.BeatOptions(
        start_s=request.start_s,
        end_s=request.end_s,
        match_window_s=match_window,
        exclude_vf=not include_vf,
        shutdown=not ignore_shutdown,
    )

    def tables(results: list[beats.BeatComparison]) -> list[Table]:
        both = [
            Table("beats", [result.row() for result in results], beat_tables.lines(results)),
            Table(
                "shutdown",
                [result.shutdown_row() for result in results],
                beat_tables.shutdown_lines(results),
            ),
        ]
        return [one for one in both if request.form in {"json", "csv"} or one.name == table]

    report(
        "bxb",
        request,
        lambda reference, test: beats.compare_beats(reference, test, options),
        tables,
        beats=True,
    )


@command.command()
@comparison
@click.option(
    "-w",
    "--match-window",
    type=Time(),
    default="0.15",
    show_default=True,
    metavar="SECONDS",
    help="How far beyond a run its beats may lie in the other file; the standard's is 0.15 s.",
)
def rxr(request: Request, match_window: float) -> None:
    """Compare run by run: ventricular runs, then supraventricular ones."""
    from tocsin_agent.lab.ec57 import runs

    options = runs.RunOptions(
        start_s=request.start_s, end_s=request.end_s, match_window_s=match_window
    )
    report(
        "rxr",
        request,
        lambda reference, test: runs.compare_runs(reference, test, options),
        lambda results: [
            Table(
                kind.name.lower(),
                [result.row(kind) for result in results],
                runs.lines(results, kind),
            )
            for kind in runs.RunKind
        ],
        beats=True,
    )


def _episodes(judge: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of every episode comparison."""
    leave_out = click.option(
        "--shortest",
        type=Time(),
        default="0",
        show_default=True,
        metavar="SECONDS",
        help="Leave shorter episodes out of the episode counts.",
    )
    from_durations = click.option(
        "--shortest-in-durations", is_flag=True, help="Leave them out of the durations as well."
    )
    return comparison(leave_out(from_durations(judge)))


def _epicmp(request: Request, kind: EpisodeKind, options: EpisodeOptions) -> None:
    from tocsin_agent.lab.ec57 import episodes

    report(
        f"epicmp-{kind.value.lower()}",
        request,
        lambda reference, test: episodes.compare_episodes(reference, test, kind, options),
        lambda results: [
            Table(
                "episodes",
                [result.row() for result in results],
                episodes.lines(results, kind),
            )
        ],
        beats=False,
    )


@command.command("epicmp-af")
@_episodes
@click.option(
    "--exclude-flutter",
    is_flag=True,
    help="Leave out of positive predictivity what the reference calls atrial flutter.",
)
def epicmp_af(
    request: Request, shortest: float, shortest_in_durations: bool, exclude_flutter: bool
) -> None:
    """Compare episodes of atrial fibrillation."""
    from tocsin_agent.lab.ec57.episodes import EpisodeKind, EpisodeOptions

    options = EpisodeOptions(
        start_s=request.start_s,
        end_s=request.end_s,
        shortest_s=shortest,
        shortest_in_durations=shortest_in_durations,
        exclude_flutter=exclude_flutter,
    )
    _epicmp(request, EpisodeKind.AF, options)


@command.command("epicmp-vf")
@_episodes
def epicmp_vf(request: Request, shortest: float, shortest_in_durations: bool) -> None:
    """Compare episodes of ventricular fibrillation or flutter."""
    from tocsin_agent.lab.ec57.episodes import EpisodeKind, EpisodeOptions

    options = EpisodeOptions(
        start_s=request.start_s,
        end_s=request.end_s,
        shortest_s=shortest,
        shortest_in_durations=shortest_in_durations,
    )
    _epicmp(request, EpisodeKind.VF, options)


@command.command()
@comparison
@click.option(
    "-m",
    "--measurement-type",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Compare measurements of this type, which is their subtype.",
)
@click.option(
    "-u",
    "--unnormalized",
    is_flag=True,
    help="Give the RMS error in the unit of the measurement, not in percent of the mean reference.",
)
def mxm(request: Request, measurement_type: int, unnormalized: bool) -> None:
    """Compare measurement by measurement, such as heart rates."""
    from tocsin_agent.lab.ec57 import measurements

    options = measurements.MeasurementOptions(
        start_s=request.start_s,
        end_s=request.end_s,
        measurement_type=measurement_type,
        normalized=not unnormalized,
    )
    report(
        "mxm",
        request,
        lambda reference, test: measurements.compare_measurements(reference, test, options),
        lambda results: [
            Table(
                "measurements",
                [result.row() for result in results],
                measurements.lines(results),
            )
        ],
        beats=False,
    )

"""`tocsin export episode` and `tocsin export record`: ECG as DICOM, EDF+, WFDB or CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli._alert_files import read_alerts
from tocsin_agent.cli._output import write_new

if TYPE_CHECKING:
    from tocsin_agent.messages.alert import Alert
    from tocsin_agent.sources.base import Source
    from tocsin_agent.team.export.trace import Trace

_BLOCK_S = 30.0
_READ_S = 1.0
_MOST_ROWS = 400_000_000  # two leads of a week at 360/s; the samples are in memory

_format = click.option(
    "--format",
    "kind",
    type=click.Choice(["edf", "dicom", "wfdb", "csv"]),
    default="wfdb",
    show_default=True,
    help="What to write; edf and dicom need the extra of that name.",
)
_output = click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder to write to.  [default: the working directory]",
)


@click.command()
@click.argument(
    "alert_file",
    metavar="ALERTS.json",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
)
@click.option(
    "--alert",
    "wanted",
    metavar="ID",
    help="Only the alert whose id begins so.  [default: all in the file]",
)
@_format
@_output
def episode(alert_file: str, wanted: str | None, kind: str, output: Path) -> None:
    """Write the strips of alerts as files, one a document that has one.

    ALERTS.json holds one alert, or the lines that `tocsin watch --json` or `tocsin replay --json`
    writes; - reads standard input.
    """
    from tocsin_agent.team.export.files import episode_files

    with click.open_file(alert_file, "rb") as file:
        alerts = read_alerts(file.read(), alert_file)
    once = {alert.key: alert for alert in alerts if alert.alert_id.startswith(wanted or "")}
    if not once:
        raise click.UsageError(f"{alert_file} holds no alert whose id begins with {wanted!r}")
    try:
        files = episode_files(list(once.values()), kind)
    except ValueError as exc:
        raise click.UsageError(f"{alert_file}: {exc}") from exc
    for path in write_new(output, files):
        click.echo(path)


@click.command()
@click.argument("uri")
@_format
@_output
@click.option("--leads", help="Names of the leads to write, separated by commas.")
@click.option("--rate-hz", type=float, help="Samples per second, for a table without a time.")
@click.option("--unit", default="mV", show_default=True, help="Of a table: mV, uV, V or counts.")
@click.option("--gain", type=float, help="Counts in a millivolt, with --unit counts.")
@click.option(
    "--from-s", type=click.FloatRange(0), default=0.0, help="Begin so many seconds later."
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Write no more than this.")
@click.option(
    "--alerts",
    "alert_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Alerts of this recording, from `tocsin replay --json`: written as annotations.",
)
def record(uri: str, kind: str, output: Path, alert_file: Path | None, **options: Any) -> None:  # noqa: ANN401
    """Write a recording in another format.

    URI is whatever `tocsin replay` reads. A gap becomes missing samples.

    \b
    tocsin replay mitdb/208 --json > 208.jsonl
    tocsin export record mitdb/208 --alerts 208.jsonl --format edf -o out
    """  # noqa: D301 - \b keeps click from joining the lines
    from tocsin_agent.sources.files.table_options import TableOptions
    from tocsin_agent.sources.opening import open_source
    from tocsin_agent.team.export.files import FORMATS

    alerts = read_alerts(alert_file.read_bytes(), str(alert_file)) if alert_file else []
    leads = options["leads"].split(",") if options["leads"] else None
    table = TableOptions(options["rate_hz"], None, options["unit"], options["gain"])
    source = open_source(uri, block_s=_BLOCK_S, leads=leads, table=table)
    if not source.finite:
        raise click.UsageError(f"{uri} is a device: it has no end; give a recording")
    with source:
        trace = _trace(uri, source, alerts, (options["from_s"], options["seconds"]))
    try:
        files = FORMATS[kind](trace)
    except ValueError as exc:
        raise click.UsageError(f"{uri}: {exc}") from exc
    for path in write_new(output, files):
        click.echo(path)


def _trace(uri: str, source: Source, alerts: list[Alert], cut: tuple[float, float | None]) -> Trace:
    """Read a recording."""
    from datetime import timedelta

    from tocsin_agent.team.export.trace import Trace, file_name, marks_of

    spec = source.spec
    if spec.marks_only:
        raise click.UsageError(f"{uri} has no ECG: it has the times of beats only")
    other = {alert.stream for alert in alerts} - {spec.stream_id}
    if other:
        raise click.UsageError(
            f"the alerts are of {', '.join(sorted(other))}, the recording is {spec.stream_id}: "
            "give those that `tocsin replay --json` writes for it"
        )
    first = round(cut[0] * spec.rate_hz)
    end = _MOST_ROWS if cut[1] is None else first + max(1, round(cut[1] * spec.rate_hz))
    samples = _samples(uri, source, first, end)
    notes = [f"from {spec.stream_id} by tocsin export"]
    if not spec.calibrated:
        notes.append("the gain is not known: mV are nominal")
    start = source.start_utc
    return Trace(
        name=file_name(uri.rpartition("/")[2].partition(".")[0] or uri),
        leads=spec.leads,
        rate_hz=spec.rate_hz,
        samples_mv=samples,
        start=None if start is None else start + timedelta(seconds=first / spec.rate_hz),
        marks=marks_of(alerts, first, len(samples)),
        notes=tuple(notes),
        synthetic=spec.synthetic,
    )


def _samples(uri: str, source: Source, first: int, end: int) -> Any:  # noqa: ANN401
    """Return the rows from `first` on, before `end`; a gap is NaN."""
    import numpy as np

    from tocsin_agent.sources.base import EndOfStream

    parts, position = [], first
    while position < end:
        try:
            block = source.read(_READ_S)
        except EndOfStream:
            break
        if block is None or block.start_index + len(block.samples_mv) <= position:
            continue
        if block.start_index > position:
            gap = min(block.start_index, end) - position
            if gap + position - first > _MOST_ROWS:
                raise click.UsageError(f"{uri} has a gap of {gap} samples: cut it by --seconds")
            parts.append(np.full((gap, len(source.spec.leads)), np.nan, np.float32))
            position += gap
        rows = block.samples_mv[position - block.start_index : end - block.start_index]
        parts.append(rows.astype(np.float32))
        position += len(rows)
    if not parts:
        raise click.UsageError(f"{uri} has no samples from {first / source.spec.rate_hz:g} s on")
    return np.concatenate(parts)

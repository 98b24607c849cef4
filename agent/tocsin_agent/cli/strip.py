"""`tocsin strip`: the ECG of an alert on paper, as SVG, PNG or PDF."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tocsin_agent.cli._alert_files import read_alerts
from tocsin_agent.cli._language_option import language_from, language_option

if TYPE_CHECKING:
    from tocsin_agent.messages.alert import Alert

_KINDS = ("svg", "png", "pdf")


@click.command()
@click.argument(
    "alert_file",
    metavar="ALERT.json",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="File to write: .svg, .png or .pdf (PNG and PDF need the extra `picture`). Without it "
    "the strip is drawn in the terminal.",
)
@click.option(
    "--alert",
    "wanted",
    metavar="ID",
    default=None,
    help="Of several alerts, the one whose id begins so; a sequence may follow: 3fa2.1.",
)
@language_option
def command(alert_file: str, output: Path | None, wanted: str | None, language: str | None) -> None:
    """Draw the ECG of an alert on paper: 25 mm/s, 10 mm/mV, beats labelled, the onset marked.

    ALERT.json holds one alert, or the lines that `tocsin watch --json` writes; - reads standard
    input. A PDF printed at 100 % has true size.

    \b
    tocsin watch --json > night.jsonl
    tocsin strip night.jsonl --alert 3fa2 -o strip.pdf
    """  # noqa: D301 - \b keeps click from joining the lines
    words = language_from(language)
    if output is not None and output.suffix.lower().removeprefix(".") not in _KINDS:
        raise click.UsageError(f"-o {output}: use a name that ends in .svg, .png or .pdf")
    with click.open_file(alert_file, "rb") as file:
        alert = _choose(read_alerts(file.read(), alert_file), wanted, alert_file)
    if output is None:
        from tocsin_agent.messages.alert import Audience
        from tocsin_agent.team.feed import AlertSeen
        from tocsin_agent.team.terminal import Style, render

        width = max(40, min(shutil.get_terminal_size((100, 24)).columns, 160))
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        style = Style(colour=colour, width=width, strip_rows=8, language=words)
        click.echo(render(AlertSeen(alert, Audience.TEAM, ""), style), color=colour)
        return
    from tocsin_agent.team.strip import strip_sheet

    kind = output.suffix.lower().removeprefix(".")
    try:
        sheet = strip_sheet(alert, words, whole_page=kind == "pdf")
    except ValueError as exc:
        raise click.UsageError(f"{alert_file}: {exc}") from exc
    if kind == "svg":
        from tocsin_agent.drawing.svg import document

        written = document(sheet).encode()
    else:
        from tocsin_agent.drawing.picture import picture

        written = picture(sheet, "png" if kind == "png" else "pdf")
    output.write_bytes(written)
    click.echo(f"{output}: {sheet.title}")


def _choose(alerts: list[Alert], wanted: str | None, name: str) -> Alert:
    """Return the alert that is wanted, else the only one that has a strip."""
    if wanted is not None:
        prefix, _, sequence = wanted.partition(".")
        alerts = [
            alert
            for alert in alerts
            if alert.alert_id.startswith(prefix) and sequence in {"", str(alert.sequence)}
        ]
    if not alerts and wanted is not None:
        raise click.UsageError(f"{name} holds no such alert: without --alert what it has is listed")
    once = {alert.key: alert for alert in reversed(alerts)}  # a repeat is the same document
    drawable = [alert for alert in once.values() if alert.strip is not None] or list(once.values())
    if not drawable:
        raise click.UsageError(f"{name} holds no such alert")
    if len(drawable) > 1:
        listed = "\n".join(
            f"  {alert.alert_id[:8]}.{alert.sequence}  {alert.code} {alert.phase}"
            for alert in reversed(drawable)
        )
        raise click.UsageError(f"{name} holds several alerts, name one with --alert:\n{listed}")
    return drawable[0]

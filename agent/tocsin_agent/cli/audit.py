"""`tocsin audit`: what happened to each alert, when, and by whom."""

from __future__ import annotations

import csv
import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="TOCSIN_CONFIG",
    help="The agent's TOML file, which names its outbox; also from TOCSIN_CONFIG.",
)
@click.option(
    "--outbox", type=click.Path(path_type=Path, dir_okay=False), help="Instead: the outbox's file."
)
@click.option(
    "--since",
    metavar="TIME|HOURS",
    help="Only entries from a time (ISO 8601), or of so many hours.",
)
@click.option(
    "--alert", "alert_id", metavar="ID", help="Only this alert; the start of its id does."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, one entry a line, with documents."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, without documents.")
def command(  # noqa: PLR0917  # click passes them by name
    file: Path | None,
    outbox: Path | None,
    since: str | None,
    alert_id: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Print the audit trail of an agent, also while it runs.

    Events: `committed` (detected when, with the document), `sent`, `delivered` (the broker has it),
    `addressed` (which level), `repeated`, `accepted`, `rejected`, `given_back`, `silenced`,
    `refused`, `ended`, `closed`, `configuration`, and others of docs/alerts.md.

    \b
    tocsin audit --config tocsin.toml --since 24
    tocsin audit --outbox outbox.db --alert 3f9a --json
    tocsin audit --config tocsin.toml --csv > audit.csv
    """  # noqa: D301 - \b keeps click from joining the lines
    import msgspec

    from tocsin_agent.delivery.audit import Entry, read_audit, to_record

    if as_json and as_csv:
        raise click.UsageError("give --json or --csv, not both")
    entries = read_audit(_outbox(file, outbox), since=_since(since), alert_id=alert_id)
    if as_json:
        for entry in entries:
            click.echo(msgspec.json.encode(to_record(entry)).decode())
        return
    names = [name for name in Entry._fields if name != "document"]
    if as_csv:
        _csv_line(names)
    for entry in entries:
        values = to_record(entry, document=False)
        values["at"] = entry.at.isoformat(timespec="milliseconds")
        if as_csv:
            _csv_line([values[name] for name in names])
        else:
            who = " ".join(str(part) for part in (entry.who, entry.level) if part)
            short = f"{entry.alert_id[:8]}/{entry.sequence}" if entry.alert_id else ""
            click.echo(f"{values['at']}  {short:<12} {entry.event:<13} {who:<14} {entry.detail}")


def _outbox(file: Path | None, outbox: Path | None) -> Path:
    from tocsin_agent.config.config import load_config

    if outbox is not None:
        return outbox
    if file is None:
        raise click.UsageError("name the agent's configuration (--config) or its outbox (--outbox)")
    return Path(load_config(file).outbox.path)


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.now(UTC) - timedelta(hours=float(text))
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        raise click.UsageError(
            f"--since {text!r}: give hours (24) or a time such as 2026-03-01T12:00:00+00:00"
        ) from exc
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _csv_line(values: list[object] | list[str]) -> None:
    line = io.StringIO()
    csv.writer(line).writerow(["" if value is None else value for value in values])
    sys.stdout.write(line.getvalue())

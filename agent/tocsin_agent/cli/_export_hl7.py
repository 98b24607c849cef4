"""`tocsin export hl7`: alerts and vital signs to a receiver of HL7 v2, or as files."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli._alert_files import read_documents
from tocsin_agent.cli._export_send import run, security_from, send_options
from tocsin_agent.cli._output import write_new

if TYPE_CHECKING:
    from tocsin_agent.team.export.hl7v2 import Addressee
    from tocsin_agent.team.export.queue import Document, Item


@click.command()
@click.argument(
    "alert_file",
    required=False,
    metavar="[ALERTS.json]",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
)
@click.option(
    "--to", "url", metavar="URL", help="Receiver: mllps://HOST:PORT, or mllp:// without TLS."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to in place of a receiver: a file a message.",
)
@click.option("--application", default="", help="Receiving application (MSH-5).")
@click.option("--facility", default="", help="Receiving facility (MSH-6).")
@send_options
def hl7(
    alert_file: str | None,
    url: str | None,
    output: Path | None,
    application: str,
    facility: str,
    **options: Any,  # noqa: ANN401
) -> int:
    """Send alerts as ORU^R40 and trends as ORU^R01 (IHE PCD-04, PCD-01), or write them.

    ALERTS.json holds alerts, or the lines of `tocsin watch --json`, `tocsin replay --json` or
    `tocsin trend --json`. A message that is not acknowledged is sent again, unchanged.

    \b
    tocsin export hl7 night.jsonl -o out
    tocsin export hl7 --follow --broker HOST:PORT --queue hl7.db --to mllps://h:2575
    """  # noqa: D301 - \b keeps click from joining the lines
    from tocsin_agent.team.export.hl7v2 import Addressee

    to = Addressee(application, facility)
    documents = None
    if alert_file is not None:
        with click.open_file(alert_file, "rb") as file:
            documents = read_documents(file.read(), alert_file)
    security = security_from(options)
    if output is not None:
        if url is not None or documents is None:
            raise click.UsageError("-o writes the alerts of a file, without --to and --follow")
        messages = enumerate((_message(document, to) for document in documents), 1)
        write_new(output, {f"{n:06d}.hl7": m.encode() for n, m in messages if m is not None})
        click.echo(output)
        return ExitCode.OK
    if url is None:
        raise click.UsageError("give --to URL of a receiver, or -o FOLDER")
    from tocsin_agent.team.export.mllp import MllpClient

    try:
        client = MllpClient(url, security)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc

    def send(document: Document, item: Item) -> None:  # noqa: ARG001
        message = _message(document, to)
        if message is not None:
            client.send(message)

    with contextlib.closing(client):
        return run("hl7", documents, send, options)


def _message(document: Document, to: Addressee) -> str | None:
    from tocsin_agent.messages.alert import Alert
    from tocsin_agent.messages.trend import Trend
    from tocsin_agent.team.export.hl7v2 import alert_message, answer_message, trend_message

    if isinstance(document, Alert):
        return alert_message(document, to)
    if isinstance(document, Trend):
        return trend_message(document, to)
    return answer_message(document, to)

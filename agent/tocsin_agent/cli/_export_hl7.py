"""`tocsin export hl7`: alerts and vital signs to a receiver of HL7 v2, or as files."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli._export_send import documents_from, run, security_from, send_options
from tocsin_agent.cli._output import write_new

if TYPE_CHECKING:
    from tocsin_agent.team.export.hl7v2 import Addressee
    from tocsin_agent.team.export.queue import Document, Item


@click.command()
@click.option(
    "--to", "url", metavar="URL", help="Receiver: mllps://HOST:PORT, or mllp:// without TLS."
)
@click.option("--application", default="", help="Receiving application (MSH-5).")
@click.option("--facility", default="", help="Receiving facility (MSH-6).")
@send_options
def hl7(
    url: str | None,
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
    documents, output = documents_from(options, url)
    security = security_from(options)
    if output is not None and documents is not None:
        messages = enumerate((_message(document, to) for document in documents), 1)
        write_new(output, {f"{n:06d}.hl7": m.encode() for n, m in messages if m is not None})
        click.echo(output)
        return ExitCode.OK
    assert url is not None  # noqa: S101 - `documents_from` has looked
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

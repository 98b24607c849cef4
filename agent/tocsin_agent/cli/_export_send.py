"""What `tocsin export fhir` and `tocsin export hl7` have in common: from a file, or for ever."""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli._alert_files import read_documents
from tocsin_agent.cli._broker_options import broker_options, settings_from
from tocsin_agent.cli._signing_options import keys_from, keys_option

if TYPE_CHECKING:
    from tocsin_agent.messages.alert import Alert
    from tocsin_agent.messages.trend import Trend
    from tocsin_agent.team.export.bridge import Send
    from tocsin_agent.team.export.transport import Security

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.argument(
        "alert_file",
        required=False,
        metavar="[ALERTS.json]",
        type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    ),
    click.option(
        "-o",
        "--output",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder to write files to in place of sending; none that is there is replaced.",
    ),
    click.option("--follow", is_flag=True, help="Send what arrives at a broker, until stopped."),
    click.option(
        "--queue",
        "queue_file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File that keeps what waits and what was refused; needed with --follow.",
    ),
    click.option("--site", default="+", show_default="every site", help="Only this site."),
    click.option("--device", default="+", show_default="every device", help="Only this device."),
    click.option("--trends/--no-trends", default=True, show_default=True, help="Also the trends."),
    click.option(
        "--within",
        "within_s",
        type=click.FloatRange(0, min_open=True),
        default=60.0,
        show_default=True,
        help="Without --follow: end after so many seconds; exit code 5 if something waits still.",
    ),
    click.option(
        "--to-ca-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Certificate authority of the other system.  [default: those of the system]",
    ),
    click.option(
        "--to-cert-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Certificate of this client, if the other system wants one.",
    ),
    click.option(
        "--to-key-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Key of --to-cert-file.",
    ),
    click.option(
        "--to-plaintext",
        is_flag=True,
        help="Send to another machine without TLS: others can read and forge what is sent.",
    ),
)


def send_options(command: F) -> F:
    """Add what a command that sends takes; `documents_from` and `run` read it."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return keys_option(broker_options(command))


def documents_from(
    options: dict[str, Any], url: str | None
) -> tuple[list[Alert | Trend] | None, Path | None]:
    """Remove file and folder, and return the documents, None to follow, and the folder.

    Raises
    ------
    click.UsageError
        If there is neither a folder nor the address of another system, or both.
    """
    alert_file, output = options.pop("alert_file"), options.pop("output")
    documents = None
    if alert_file is not None:
        with click.open_file(alert_file, "rb") as file:
            documents = read_documents(file.read(), alert_file)
    if output is not None and (url is not None or documents is None):
        raise click.UsageError("-o writes the alerts of a file, without --to and --follow")
    if output is None and url is None:
        raise click.UsageError("give --to URL of the other system, or -o FOLDER")
    return documents, output


def security_from(options: dict[str, Any]) -> Security:
    """Remove the options of TLS to the other system, and return what they say."""
    from tocsin_agent.team.export.transport import Security

    names = ("to_ca_file", "to_cert_file", "to_key_file", "to_plaintext")
    return Security(*(options.pop(name) for name in names))


def run(
    kind: str, documents: list[Alert | Trend] | None, send: Send, options: dict[str, Any]
) -> int:
    """Send documents of a file, or with `--follow` what arrives at a broker.

    Parameters
    ----------
    kind : str
        Names the session at the broker.
    documents : list or None
        None to follow.
    send : callable
        Sends one document.
    options : dict
        Of `send_options`.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="tocsin: %(levelname)s: %(message)s"
    )
    queue_file = options.pop("queue_file")
    if options.pop("follow") != (documents is None):
        raise click.UsageError("give a file of alerts, or --follow")
    if documents is None:
        if queue_file is None:
            raise click.UsageError("--follow needs --queue FILE: it keeps what waits")
        return _follow(kind, queue_file, send, options)
    with tempfile.TemporaryDirectory() as folder:
        return _once(queue_file or Path(folder) / "queue.db", documents, send, options)


def _once(file: Path, documents: list[Alert | Trend], send: Send, options: dict[str, Any]) -> int:
    from tocsin_agent.team.export.bridge import Drain
    from tocsin_agent.team.export.queue import Queue

    with Queue(file) as queue:
        queue.put(documents)
        drain, deadline_s = Drain(queue, send), time.monotonic() + options["within_s"]
        while (pause_s := drain.step()) >= 0 and time.monotonic() + pause_s < deadline_s:
            time.sleep(pause_s)
        counts = queue.counts()
        for key, reason, _ in queue.set_aside():
            click.echo(f"tocsin: {key!r} was refused: {reason}", err=True)
    click.echo(f"{counts.sent} sent, {counts.refused} refused, {counts.waiting} waiting")
    return ExitCode.DELIVERY if counts.refused or counts.waiting else ExitCode.OK


def _follow(kind: str, file: Path, send: Send, options: dict[str, Any]) -> int:
    from tocsin_agent.cli.common import stopped_by_signals
    from tocsin_agent.messages.topics import alert_filters, response_filter, trend_filter
    from tocsin_agent.team.export.bridge import Drain, follow
    from tocsin_agent.team.export.queue import Queue
    from tocsin_agent.team.receiver import Receiver

    site, device = options.pop("site"), options.pop("device")
    try:
        filters = [*alert_filters("all", site, device), response_filter(site, device)]
        trends = [trend_filter(site, device)]
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    with_trends, keys = options.pop("trends"), keys_from(options.pop("keys_file"))
    options.pop("within_s")
    settings, client_id = settings_from(options), f"tocsin-export-{kind}-{file.stem}"
    with Queue(file) as queue, stopped_by_signals() as (stop, received), ExitStack() as stack:
        drain = Drain(queue, send)
        drain.start()
        alerts = Receiver(settings, filters, client_id=client_id, keep_session=True, keys=keys)
        receivers = [stack.enter_context(alerts)]
        if with_trends:
            # Without a session: while this program is away, minutes must not fill the place that
            # the broker has for alerts.
            minutes = Receiver(settings, trends, client_id=f"{client_id}-trends", keys=keys)
            receivers.append(stack.enter_context(minutes))
        follow(receivers, queue, drain, stop)
        drain.stop(timeout_s=30.0)
        counts = queue.counts()
    click.echo(f"{counts.sent} sent, {counts.refused} refused, {counts.waiting} waiting", err=True)
    if signal.SIGINT in received:
        raise click.Abort
    return ExitCode.OK

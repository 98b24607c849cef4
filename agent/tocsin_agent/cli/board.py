"""`tocsin board`: the beds live, what is active, since when, and who has it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli._broker_options import broker_options, settings_from
from tocsin_agent.cli._language_option import language_from, language_option
from tocsin_agent.cli._signing_options import keys_from, keys_option, sign_option, signer_from

_ONCE_S = 1.0


@click.command()
@broker_options
@click.option("--site", default="+", show_default="every site", help="Only this site.")
@click.option("--device", default="+", show_default="every device", help="Only this device.")
@click.option(
    "--as",
    "who",
    default=None,
    metavar="WHO",
    help="A pseudonym of who answers here; without it the board is read only.",
)
@click.option("--role", default="team", show_default=True, help="In which role.")
@click.option(
    "--silence",
    "silence_s",
    type=click.FloatRange(0, 3600, min_open=True),
    default=120.0,
    show_default=True,
    help="For how many seconds the key S stops the repeats.",
)
@click.option("--once", is_flag=True, help="Print the board as text, and end; needs no extra.")
@sign_option
@keys_option
@language_option
def command(  # noqa: PLR0917  # click passes them by name
    site: str,
    device: str,
    who: str | None,
    role: str,
    silence_s: float,
    once: bool,
    language: str | None,
    sign_with: Path | None,
    keys_file: Path | None,
    **broker: Any,  # noqa: ANN401
) -> int:
    """Show the beds live: alive or not, heart rate, leads, what is active, since when, who has it.

    Below the table is the ECG of the selected alert. Keys: A accept, S silence, G give back,
    R reject, arrows select, Q quit. What nobody has accepted is on top.

    \b
    tocsin board --broker HOST --as dr-k
    tocsin board --broker HOST --once
    """  # noqa: D301 - \b keeps click from joining the lines
    from tocsin_agent.messages.topics import board_filters
    from tocsin_agent.team.receiver import Receiver
    from tocsin_agent.team.terminal import Style

    settings, words = settings_from(broker), language_from(language)
    try:
        filters = board_filters(site, device)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    client_id = f"tocsin-board-{os.getpid()}-{time.time_ns() & 0xFFFFFF:x}"
    receiver = Receiver(
        settings,
        filters,
        client_id=client_id,
        receipts=not once,
        signer=signer_from(sign_with),
        keys=keys_from(keys_file),
    )
    style = Style(width=shutil.get_terminal_size((100, 24)).columns, strip_rows=6, language=words)
    if once:
        return _print_once(receiver, style, settings.connect_timeout_s + settings.ack_timeout_s)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("the board needs a terminal: use --once, or tocsin watch")
    from tocsin_agent.extras import import_extra

    import_extra("textual", "team", "the live board")
    from tocsin_agent.team.board.screen import BoardApp, Person

    if who is not None and not (0 < len(who) <= 128 and 0 < len(role) <= 64):
        raise click.UsageError("use 1 to 128 characters for --as, 1 to 64 for --role")
    person = Person(who, role, silence_s) if who else None
    BoardApp(receiver, style, person).run()
    return ExitCode.OK


def _print_once(receiver: Any, style: Any, patience_s: float) -> int:  # noqa: ANN401  # types imported late
    """Print what the retained messages say; exit code 5 if the broker cannot be reached."""
    from tocsin_agent.team.board.table import as_text
    from tocsin_agent.team.board.ward import Ward

    ward = Ward()
    with receiver:
        answered, deadline_s = False, time.monotonic() + patience_s
        while not ward.trouble and time.monotonic() < deadline_s:
            for item in receiver.poll(_ONCE_S / 10):
                ward.take(item, datetime.now(UTC))
            if receiver.subscribed and not answered:  # what is retained follows
                answered, deadline_s = True, time.monotonic() + _ONCE_S
    if ward.trouble:
        click.echo(f"tocsin: {ward.trouble}", err=True)
        return ExitCode.DELIVERY
    click.echo(as_text(ward, datetime.now(UTC), style))
    return ExitCode.OK

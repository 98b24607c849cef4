"""`tocsin watch`: the alerts at a broker, as a team receives them."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli._broker_options import broker_options, settings_from
from tocsin_agent.cli._language_option import language_from, language_option
from tocsin_agent.cli._signing_options import keys_from, keys_option, sign_option, signer_from

if TYPE_CHECKING:
    from tocsin_agent.team.feed import Item
    from tocsin_agent.team.language import Language

_POLL_S = 0.25


@click.command()
@broker_options
@click.option("--site", default="+", show_default="every site", help="Only this site.")
@click.option("--device", default="+", show_default="every device", help="Only this device.")
@click.option(
    "--audience",
    type=click.Choice(["team", "bedside", "all"]),
    default="team",
    show_default=True,
    help="The topics to subscribe to.",
)
@sign_option
@keys_option
@language_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@click.option(
    "--level",
    "levels",
    multiple=True,
    metavar="NAME",
    help="Also a further level of the chain, such as second-team; may be repeated.",
)
@click.option(
    "--count", type=click.IntRange(1), default=None, help="End after this number of alerts."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=None,
    help="End after this time; with --count, exit code 5 if fewer alerts came.",
)
@click.option(
    "--session",
    default=None,
    metavar="NAME",
    help="Name of a session: the broker keeps alerts while no watch of this name is connected, for "
    "up to a week, and this user's ~/.local/state/tocsin what was shown. Without it, alerts are "
    "missed while this watch reconnects.",
)
@click.option(
    "--share",
    metavar="GROUP",
    help="Share the alerts with every other watch of this group: each goes to one of them. For "
    "programs (--json), not for screens: without who is open, connected or present. With "
    "--session the share of a watch that is away waits for it.",
)
@click.option(
    "--receipts/--no-receipts",
    default=True,
    show_default=True,
    help="Confirm to the devices which alerts were shown here.",
)
@click.option(
    "--strip/--no-strip", default=True, show_default=True, help="Draw the ECG of each alert."
)
def command(  # noqa: PLR0917  # click passes them by name
    site: str,
    device: str,
    audience: str,
    levels: tuple[str, ...],
    language: str | None,
    as_json: bool,
    count: int | None,
    timeout_s: float | None,
    session: str | None,
    share: str | None,
    strip: bool,
    receipts: bool,
    sign_with: Path | None,
    keys_file: Path | None,
    **broker: Any,  # noqa: ANN401
) -> int:
    """Show the alerts at a broker as a team receives them, each one once, until Ctrl-C.

    Without --session it also shows what is open when it begins, and who takes an alert or gives it
    back.

    \b
    tocsin watch --broker HOST --ca-file ca.pem --site ward3
    tocsin watch --broker HOST --json --session archive > alerts.jsonl
    tocsin watch --broker HOST --audience all --no-strip
    """  # noqa: D301 - \b keeps click from joining the lines
    from tocsin_agent.cli.common import stopped_by_signals
    from tocsin_agent.messages.topics import (
        active_filter,
        alert_filters,
        level_filter,
        shared,
        watch_filters,
    )
    from tocsin_agent.team.feed import ActiveSeen, AlertSeen
    from tocsin_agent.team.receiver import Receiver
    from tocsin_agent.team.shown import ShownAlerts, session_file

    settings, words = settings_from(broker), language_from(language)
    try:
        further = [level_filter(level, site, device) for level in levels]
        if share is not None:
            filters = shared([*alert_filters(audience, site, device), *further], share)
        else:
            filters = [*watch_filters(audience, site, device), *further]
            # A broker would keep one `active` every few seconds for a session that is away.
            filters += [] if session else [active_filter(site, device)]
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    client_id = f"tocsin-watch-{session or f'{os.getpid()}-{time.time_ns() & 0xFFFFFF:x}'}"
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    shown = 0
    with (
        stopped_by_signals() as (stop, received),
        Receiver(
            settings,
            filters,
            client_id=client_id,
            keep_session=session is not None,
            receipts=receipts,
            shown=ShownAlerts(file=session_file(session) if session else None),
            signer=signer_from(sign_with),
            keys=keys_from(keys_file),
        ) as receiver,
    ):
        # An alert that is being shown when a signal arrives is noted as shown, too.
        while (count is None or shown < count) and not stop.is_set():
            left_s = _POLL_S if deadline_s is None else deadline_s - time.monotonic()
            if left_s <= 0:
                return ExitCode.OK if count is None else ExitCode.DELIVERY
            for item in receiver.poll(min(left_s, _POLL_S)):
                if isinstance(item, ActiveSeen) and not item.changed:
                    continue
                _show(item, words, as_json=as_json, strip=strip)
                receiver.shown(item)
                shown += isinstance(item, AlertSeen) and not (item.again or item.repeated)
    if signal.SIGINT in received:
        raise click.Abort
    return ExitCode.OK


def _show(item: Item, language: Language, *, as_json: bool, strip: bool) -> None:
    from tocsin_agent.team.feed import ConnectionSeen
    from tocsin_agent.team.terminal import Style, render

    if as_json:
        from tocsin_agent.team.feed import to_json

        click.echo(to_json(item, datetime.now(UTC)))
        sys.stdout.flush()
        return
    width = max(40, min(shutil.get_terminal_size((100, 24)).columns, 160))
    style = Style(
        colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ,
        width=width,
        strip_rows=4 if strip else 0,
        language=language,
    )
    click.echo(render(item, style), err=isinstance(item, ConnectionSeen), color=style.colour)
    sys.stdout.flush()

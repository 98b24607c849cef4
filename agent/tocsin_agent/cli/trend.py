"""`tocsin trend`: the trends of a patient, from an outbox or from a broker."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli._broker_options import broker_options, settings_from

if TYPE_CHECKING:
    from tocsin_agent.messages.trend import Trend

_POLL_S = 0.25


@click.command()
@click.option(
    "--outbox",
    type=click.Path(path_type=Path),
    help="Draw the trends of this outbox (outbox.path); its agent may be running.",
)
@click.option(
    "--hours",
    type=click.FloatRange(0, min_open=True),
    default=24.0,
    show_default=True,
    help="With --outbox: the last hours before its newest trend.",
)
@broker_options
@click.option("--site", default="+", show_default="every site", help="Only this site.")
@click.option("--device", default="+", show_default="every device", help="Only this device.")
@click.option(
    "--count", type=click.IntRange(1), help="With a broker: end after this number of trends."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    help="With a broker: end after this time; with --count, exit code 5 if fewer trends came.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each trend as JSON, one a line.")
def command(  # noqa: PLR0917  # click passes them by name
    outbox: Path | None,
    hours: float,
    site: str,
    device: str,
    count: int | None,
    timeout_s: float | None,
    as_json: bool,
    **broker: Any,  # noqa: ANN401
) -> int:
    """Draw the trends of a patient: heart rate, ectopy, AF burden, runs, pauses, ST, variability.

    A trend is one minute of a stream in numbers. From an outbox they are drawn as curves; from a
    broker each is a line as it arrives, the last known one of each device at once.

    \b
    tocsin trend --outbox tocsin-outbox.db             the last 24 hours
    tocsin trend --outbox tocsin-outbox.db --json      for a program
    tocsin trend --broker localhost:1883               follow every device
    """  # noqa: D301 - \b keeps click from joining the lines
    if outbox is not None:
        return _from_outbox(outbox, hours, site, device, as_json=as_json)
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    return _from_broker(settings_from(broker), site, device, count, deadline_s, as_json=as_json)


def _from_outbox(path: Path, hours: float, site: str, device: str, *, as_json: bool) -> int:
    from tocsin_agent.delivery.trends import read_trends
    from tocsin_agent.messages.printable import clean
    from tocsin_agent.team.trends import draw

    trends = [
        trend
        for trend in read_trends(path)
        if site in {"+", trend.site} and device in {"+", trend.device}
    ]
    newest = max((trend.to_at for trend in trends), default=datetime.now(UTC))
    trends = [trend for trend in trends if trend.to_at > newest - timedelta(hours=hours)]
    if as_json:
        for trend in trends:
            _print_json(trend)
    elif trends:
        width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 240))
        for row in draw(trends, width).split("\n"):
            click.echo(clean(row))
    else:
        click.echo(f"{path} holds no trends: `tocsin run` writes one every minute", err=True)
    return ExitCode.OK


def _from_broker(  # as the options
    settings: Any,  # noqa: ANN401  # MqttSettings, imported late
    site: str,
    device: str,
    count: int | None,
    deadline_s: float | None,
    *,
    as_json: bool,
) -> int:
    from tocsin_agent.messages.printable import clean
    from tocsin_agent.messages.topics import trend_filter
    from tocsin_agent.team.feed import ConnectionSeen, Malformed, TrendSeen
    from tocsin_agent.team.receiver import Receiver
    from tocsin_agent.team.trends import line

    try:
        filters = [trend_filter(site, device)]
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    shown = 0
    client_id = f"tocsin-trend-{os.getpid()}-{time.time_ns() & 0xFFFFFF:x}"
    with Receiver(settings, filters, client_id=client_id) as receiver:
        while count is None or shown < count:
            left_s = _POLL_S if deadline_s is None else deadline_s - time.monotonic()
            if left_s <= 0:
                return ExitCode.OK if count is None else ExitCode.DELIVERY
            for item in receiver.poll(min(left_s, _POLL_S)):
                if isinstance(item, TrendSeen):
                    shown += 1
                    if as_json:
                        _print_json(item.trend)
                    else:
                        click.echo(clean(line(item.trend)))
                elif isinstance(item, Malformed):
                    click.echo(f"tocsin: {item.topic}: not a trend: {item.reason}", err=True)
                elif isinstance(item, ConnectionSeen):
                    click.echo(f"tocsin: {item.message}", err=True)
    return ExitCode.OK


def _print_json(trend: Trend) -> None:
    import msgspec

    click.echo(msgspec.json.encode(trend))

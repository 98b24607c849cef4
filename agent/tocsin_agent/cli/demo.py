"""`tocsin demo`: the agent, a broker and a team's screen in one process, on a real ECG."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from tocsin_agent.cli import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tocsin_agent.messages.alert import Alert, Key
    from tocsin_agent.mqtt.settings import MqttSettings
    from tocsin_agent.runtime.stream import StreamReport
    from tocsin_agent.team.feed import Item

_DELIVERY_TIMEOUT_S = 20.0
_POLL_S = 0.1
_SITE, _DEVICE = "demo", "bed-1"


@click.command()
@click.option(
    "--speed",
    type=click.FloatRange(0, 1000, min_open=True),
    default=None,
    show_default="20, with --console 1",
    help="How many times faster than real time.",
)
@click.option(
    "--record",
    "records",
    multiple=True,
    default=("excerpt", "synthetic:demo"),
    show_default=True,
    help="A recording, as for `replay`; may be given more than once.",
)
@click.option(
    "--strip/--no-strip", default=True, show_default=True, help="Draw the ECG of each alert."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print what the team receives as JSON, one a line."
)
@click.option("--console", is_flag=True, help="Serve the page of the team, with four beds.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Of the console.  [default: any]"
)
@click.option("--browser/--no-browser", default=True, help="Open the page in a browser.")
def command(  # noqa: PLR0917  # click passes them by name
    speed: float | None,
    records: tuple[str, ...],
    strip: bool,
    as_json: bool,
    console: bool,
    port: int,
    browser: bool,
) -> int:
    """Replay a real ECG, and show the alerts as a team receives them.

    Everything runs in this process, on the loopback: a small MQTT broker, the whole agent with its
    outbox, and a team's receiver with its own connection. The alerts shown came back from the
    broker. At the end the alerts sent and received are counted; exit code 5 if one was lost.

    \b
    tocsin demo
    tocsin demo --speed 1                     in real time
    tocsin demo --record synthetic:demo       a synthetic patient
    tocsin demo --record mitdb/203            another real ECG, see: tocsin fetch
    tocsin demo --console                     four beds in a browser, until Ctrl-C
    """  # noqa: D301 - \b keeps click from joining the lines
    if console:
        from tocsin_agent.cli._console_demo import run

        return run(speed or 1.0, port=port, browse=browser)
    return _demo(speed or 20.0, records, strip=strip, as_json=as_json)


def _demo(speed: float, records: tuple[str, ...], *, strip: bool, as_json: bool) -> int:
    from tocsin_agent.config.config import Config
    from tocsin_agent.delivery.outbox import Outbox
    from tocsin_agent.mqtt.embedded import EmbeddedBroker
    from tocsin_agent.runtime.assembly import Assembly
    from tocsin_agent.runtime.source import build_source
    from tocsin_agent.sources.settings import SourceSettings
    from tocsin_agent.updates.field import FieldModels
    from tocsin_models import load_models

    committed: dict[Key, float] = {}

    class TimedOutbox(Outbox):
        def append(self, alerts: Sequence[Alert]) -> int:
            for alert in alerts:
                committed.setdefault((alert.alert_id, alert.sequence), time.monotonic())
            return super().append(alerts)

    sources = [SourceSettings(uri=record, speed=speed) for record in records]
    for source in sources:
        build_source(source)  # an unknown record is an error before anything starts
    models = FieldModels(load_models())
    if not as_json:
        click.echo("What follows is what a team receives over MQTT from a broker on this machine.")
    screen = _Screen()
    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-")))
        outbox = stack.enter_context(TimedOutbox(folder))
        team = stack.enter_context(_Team(broker.settings(), screen, strip=strip, as_json=as_json))
        config = Config(
            site=_SITE,
            device=_DEVICE,
            patient="a pseudonym",
            location="Ward 3, bed 1",
            source=sources[0],
            mqtt=broker.settings(),
        )
        with Assembly(config, models, outbox, publish=True) as assembly:
            for source in sources:
                if not as_json:
                    _introduce(source.uri, speed)
                assembly.agent(source, on_report=screen.pulse).run(threading.Event())
                screen.rest()
                team.wait_for(committed)
        team.wait_quiet()
    return _sum_up(committed, team, as_json=as_json)


class _Screen:
    """A terminal for two threads: what the team received, and below it the progress."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lively = sys.stderr.isatty()
        self._beats = 0

    def show(self, text: str) -> None:
        """Print lines."""
        with self._lock:
            self._clear()
            click.echo(text)
            sys.stdout.flush()

    def pulse(self, report: StreamReport) -> None:
        """Show the time in the recording and the beats so far, on a terminal only."""
        beats = report.report.beats
        self._beats += len(beats)
        if self._lively:
            minutes, seconds = divmod(int(report.position / report.spec.rate_hz), 60)
            with self._lock:
                self._clear()
                heart = click.style("♥", fg="red", dim=not beats)
                at = f"  {heart} {minutes}:{seconds:02d} of the recording, {self._beats} beats"
                click.echo(at, nl=False, err=True)

    def rest(self) -> None:
        """Remove the progress line at the end of a recording."""
        with self._lock:
            self._clear()
            self._beats = 0

    def _clear(self) -> None:
        if self._lively:
            click.echo("\r\x1b[K", nl=False, err=True)


class _Team:
    """The receiving side of a team, in a thread with its own connection to the broker."""

    def __init__(self, mqtt: MqttSettings, screen: _Screen, *, strip: bool, as_json: bool) -> None:
        self.arrived: dict[Key, float] = {}
        self.repeated = 0
        self._mqtt, self._screen, self._strip, self._as_json = mqtt, screen, strip, as_json
        self._stop, self._ready = threading.Event(), threading.Event()
        self._last_s = 0.0
        self._thread = threading.Thread(target=self._receive, name="demo-team", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(_DELIVERY_TIMEOUT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_DELIVERY_TIMEOUT_S)

    def wait_for(self, keys: dict[Key, float]) -> None:
        """Wait until all of these alerts arrived, or for at most 20 s."""
        until_s = time.monotonic() + _DELIVERY_TIMEOUT_S
        while time.monotonic() < until_s and not keys.keys() <= self.arrived.keys():
            time.sleep(_POLL_S)

    def wait_quiet(self) -> None:
        """Wait until nothing has arrived for 0.5 s, so that a late duplicate is counted."""
        until_s = time.monotonic() + 2.0
        while time.monotonic() < min(until_s, self._last_s + 0.5):
            time.sleep(_POLL_S)

    def _receive(self) -> None:
        from tocsin_agent.messages.topics import watch_filters
        from tocsin_agent.team.feed import AlertSeen
        from tocsin_agent.team.receiver import Receiver

        filters = watch_filters("all", _SITE, _DEVICE)
        with Receiver(self._mqtt, filters, client_id="demo-team") as receiver:
            while not self._stop.is_set():
                for item in receiver.poll(_POLL_S):
                    self._last_s = time.monotonic()
                    if isinstance(item, AlertSeen):
                        key = (item.alert.alert_id, item.alert.sequence)
                        self.arrived.setdefault(key, self._last_s)
                    self._show(item)
                self.repeated = receiver.repeated
                if receiver.connected:
                    self._ready.set()

    def _show(self, item: Item) -> None:
        from tocsin_agent.cli._language_option import language_from
        from tocsin_agent.team.feed import to_json
        from tocsin_agent.team.terminal import Style, render

        style = Style(
            colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ,
            width=max(60, min(shutil.get_terminal_size((100, 24)).columns, 120)),
            strip_rows=4 if self._strip else 0,
            language=language_from(None),
        )
        as_json = self._as_json
        self._screen.show(to_json(item, datetime.now(UTC)) if as_json else render(item, style))


def _introduce(record: str, speed: float) -> None:
    about = {
        "excerpt": "MIT-BIH record 208, a real patient with frequent ventricular ectopy: "
        "five minutes of lead MLII",
        "synthetic:demo": "A scripted patient with ventricular tachycardia and fibrillation",
    }
    click.secho(f"\n{about.get(record, record)}; {speed:g} times real time.\n", bold=True)
    sys.stdout.flush()


def _sum_up(committed: dict[Key, float], team: _Team, *, as_json: bool) -> int:
    lost = committed.keys() - team.arrived.keys()
    delays_ms = [
        1000.0 * (team.arrived[key] - at_s) for key, at_s in committed.items() if key not in lost
    ]
    summary = {
        "schema": "tocsin/demo/v1",
        "committed": len(committed),
        "received": len(team.arrived),
        "duplicates": team.repeated,
        "lost": len(lost),
        "latency_ms_median": round(statistics.median(delays_ms), 1) if delays_ms else None,
    }
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(summary))
    else:
        click.echo(
            f"\n{summary['committed']} alerts committed, {summary['received']} received, "
            f"{summary['duplicates']} received twice, {summary['lost']} lost; "
            f"{summary['latency_ms_median']} ms from commit to the team's screen (median).\n"
            "Next: `tocsin --help` lists what else there is; README.md says who reads what."
        )
    return ExitCode.DELIVERY if lost or not committed else ExitCode.OK

"""`tocsin demo --console`: four beds, a broker and the console in one process, on the loopback."""

from __future__ import annotations

import logging
import secrets
import sys
import tempfile
import threading
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli.console import need_extra

if TYPE_CHECKING:
    from tocsin_agent.mqtt.settings import MqttSettings

log = logging.getLogger(__name__)

_SITE = "demo"
_USER = "demo"
_BEDS = (
    ("bed-1", "Ward 3, bed 1", "excerpt"),
    ("bed-2", "Ward 3, bed 2", "synthetic:demo"),
    ("bed-3", "Ward 3, bed 3", "synthetic:lead_faults"),
    ("bed-4", "Ward 3, bed 4", "synthetic:all_alarms"),
)


def run(speed: float, *, port: int, browse: bool) -> int:
    """Run until Ctrl-C; print the address and a password that is valid this once."""
    need_extra()
    from tocsin_agent.mqtt.embedded import EmbeddedBroker

    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-")))
        stop = threading.Event()
        beds = [
            threading.Thread(
                target=_monitor,
                args=(bed, folder / bed[0], broker.settings(), speed, stop),
                name=bed[0],
                daemon=True,
            )
            for bed in _BEDS
        ]
        try:
            _serve(folder, broker.settings(), port, beds, browse=browse)
        finally:
            stop.set()
            for bed in beds:
                if bed.ident is not None:
                    bed.join(20.0)
    return ExitCode.OK


def _serve(
    folder: Path, mqtt: MqttSettings, port: int, beds: list[threading.Thread], *, browse: bool
) -> None:
    import msgspec

    from tocsin_agent.team.console.app import Console
    from tocsin_agent.team.console.people import User, hash_password, write_people
    from tocsin_agent.team.console.serve import Server
    from tocsin_agent.team.console.settings import (
        ConsoleSettings,
        HistorySettings,
        ListenSettings,
        PeopleSettings,
    )

    password = secrets.token_urlsafe(12)
    people = folder / "people.toml"
    user = {"role": "cardiologist", "password": hash_password(password)}
    write_people(people, {_USER: msgspec.convert(user, User)})
    settings = ConsoleSettings(
        title="tocsin demo",
        mqtt=mqtt,
        listen=ListenSettings(port=port),
        people=PeopleSettings(file=str(people)),
        history=HistorySettings(file=str(folder / "console.db")),
    )
    server = Server(Console(settings))

    def started() -> None:
        click.echo(f"The console is at {server.url}\n  user      {_USER}\n  password  {password}")
        click.echo("Four beds: a real patient (MIT-BIH 208) and three scripted ones. Ctrl-C ends.")
        sys.stdout.flush()
        for bed in beds:
            bed.start()
        if browse:
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()

    server.run(started)


def _monitor(
    bed: tuple[str, str, str], folder: Path, mqtt: MqttSettings, speed: float, stop: threading.Event
) -> None:
    """Monitor one bed in a thread, to the end of its recording."""
    from tocsin_agent.config.config import Config
    from tocsin_agent.delivery.outbox import Outbox
    from tocsin_agent.delivery.settings import WaveformSettings
    from tocsin_agent.runtime.assembly import Assembly
    from tocsin_agent.sources.settings import SourceSettings
    from tocsin_agent.updates.field import FieldModels
    from tocsin_dsp.errors import TocsinError
    from tocsin_models import load_models

    device, location, uri = bed
    source = SourceSettings(uri=uri, speed=speed)
    config = Config(
        site=_SITE,
        device=device,
        patient=f"p-{device[-1]}",
        location=location,
        source=source,
        mqtt=mqtt,
        waveform=WaveformSettings(leads=("*",), piece_s=0.25),
    )
    try:
        with (
            Outbox(folder) as outbox,
            Assembly(config, FieldModels(load_models()), outbox, publish=True) as assembly,
        ):
            assembly.agent(source).run(stop)
            stop.wait()  # its alerts can still be answered
    except TocsinError:
        log.exception("%s has ended", device)

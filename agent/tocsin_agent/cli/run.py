"""`tocsin run`: be the agent."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tocsin_agent.config.config import Config
    from tocsin_agent.updates.field import FieldModels
    from tocsin_models import Models

log = logging.getLogger(__name__)

_DRAIN_S = 5.0


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="TOCSIN_CONFIG",
    required=True,
    help="TOML file; also from the environment, TOCSIN_CONFIG.",
)
def command(file: Path) -> None:
    """Watch a source and ring until stopped.

    Alerts are committed to the outbox before anything else happens to them, and sent whenever the
    broker can be reached. SIGTERM or Ctrl-C stops cleanly: the status becomes `stopped`, and what
    the broker has not acknowledged is sent after the next start. A second Ctrl-C leaves at once,
    and loses nothing either. SIGHUP makes it look for updated models (`tocsin model --help`).

    The source may be a device: `serial:/dev/serial/by-id/NAME?baud=921600`, `tcp://0.0.0.0:7208`
    or `tls://...?cert=FILE&key=FILE` (the device connects), `udp://0.0.0.0:7208`,
    `mqtt://HOST/TOPIC`, `h10:ADDRESS` (Polar H10 by Bluetooth), `lsl:NAME` (Lab Streaming Layer).
    It may come late, be pulled and come again. `tocsin link check` tells how good a link is.

    \b
    tocsin config show > tocsin.toml     start from a commented file
    tocsin config check tocsin.toml      is it right?
    tocsin run --config tocsin.toml
    """  # noqa: D301 - \b keeps click from joining the lines
    from tocsin_agent.cli.common import log_to_stderr, stopped_by_signals
    from tocsin_agent.config.config import load_config

    config = load_config(file)
    log_to_stderr(config.log.level)
    with stopped_by_signals() as (stop, came):
        _run(config, stop)
    if signal.SIGINT in came:
        raise click.Abort


def _run(config: Config, stop: threading.Event) -> None:
    from tocsin_agent.cli.common import asked_by_sighup, monitor_builder, source_from
    from tocsin_agent.delivery.outbox import Outbox
    from tocsin_agent.delivery.presence import PresenceLedger
    from tocsin_agent.delivery.publisher import Publisher
    from tocsin_agent.runtime.agent import Agent
    from tocsin_agent.runtime.document import Identity

    source = source_from(config.source)
    field = _models(config)
    with Outbox.from_settings(config.outbox) as outbox:
        publisher = Publisher(
            outbox,
            config.mqtt,
            site=config.site,
            device=config.device,
            presence=PresenceLedger(config.presence),
            info=_info(config, field.models),
            extra_health=lambda: agent.health() | {"models": field.health()},
        )
        agent = Agent(
            source,
            outbox,
            identity=Identity(config.site, config.device, config.patient, config.location),
            build_monitor=monitor_builder(config.limits, lambda: field.models),
            settings=config.source,
            wake=publisher.wake,
            new_models=field.take,
            on_report=field.heard,
        )
        field.on_change = lambda models: publisher.describe(_info(config, models))
        with publisher, asked_by_sighup(field.ask):
            agent.run(stop)
            # A recording has ended: the agent's work has not, until everything is delivered.
            while not stop.is_set() and not publisher.drained(0.5):
                pass
            publisher.stop(_DRAIN_S)
        if outbox.pending():
            log.warning("%d alerts wait in %s for the next start", outbox.pending(), outbox.path)


def _models(config: Config) -> FieldModels:
    """Load the models; for one that fails the monitor rings, and keeps its other alarms."""
    from tocsin_agent.updates.field import FieldModels, ModelStore

    given, store = config.model, None
    if given.folder and given.public_key:
        store = ModelStore(Path(given.folder), Path(given.public_key))
    return FieldModels(Path(given.path) if given.path else None, store)


def _info(config: Config, models: Models) -> dict[str, object]:
    from tocsin_agent import __version__
    from tocsin_agent.config.config import config_hash
    from tocsin_agent.messages.alert import SCHEMA

    return {
        "version": __version__,
        "alert_schema": SCHEMA,
        "configuration": config_hash(config),
        "models": models.hashes,
        "source": config.source.uri,
    }

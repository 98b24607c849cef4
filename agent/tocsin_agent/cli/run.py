"""`tocsin run`: the agent."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tocsin_agent.config.config import Config

log = logging.getLogger(__name__)


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="TOCSIN_CONFIG",
    required=True,
    help="TOML file; also from the environment, TOCSIN_CONFIG.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default=None,
    help="One line of text or one JSON object a message.  [default: log.format]",
)
def command(file: Path, log_format: str | None) -> None:
    """Monitor a source and publish alerts until stopped.

    Each alert is committed to the outbox before anything else happens to it, and published whenever
    the broker can be reached. SIGTERM or Ctrl-C stops the agent cleanly: its status becomes
    `stopped`, and alerts that the broker has not acknowledged are published after the next start. A
    second Ctrl-C stops it at once, without losing an alert. SIGHUP makes it look for updates of its
    models (`tocsin model --help`), and read the configuration again: broker, presence, escalation,
    signatures, log and the times of the source change at once; a file that is invalid, or that
    changes anything else, is refused as a whole.

    The source may be a device: `serial:/dev/serial/by-id/NAME?baud=921600`, `tcp://0.0.0.0:7208`
    or `tls://...?cert=FILE&key=FILE` (the device connects), `udp://0.0.0.0:7208`,
    `mqtt://HOST/TOPIC`, `h10:ADDRESS` or `h10:NAME` (Polar H10), `lsl:NAME` (Lab Streaming Layer).
    It may start late, be unplugged and come back: it is tried for ever, and the alert `source_lost`
    names the reason. `tocsin link check` measures how good a link is.

    \b
    tocsin config show > tocsin.toml     start from a commented file
    tocsin config check tocsin.toml      check it
    tocsin run --config tocsin.toml
    """  # noqa: D301 - \b keeps click from joining the lines
    from tocsin_agent.cli.common import stopped_by_signals
    from tocsin_agent.config.config import load_config
    from tocsin_agent.runtime.logs import change_log, log_to_stderr

    config = load_config(file, os.environ)
    log_to_stderr(config.log.level, log_format or config.log.format)

    def load() -> Config:
        return load_config(file, os.environ)

    def apply_log(new: Config) -> None:
        change_log(new.log.level, log_format or new.log.format)

    with stopped_by_signals() as (stop, received):
        _run(config, stop, load, apply_log)
    if signal.SIGINT in received:
        raise click.Abort


def _run(
    config: Config,
    stop: threading.Event,
    load: Callable[[], Config],
    apply_log: Callable[[Config], None],
) -> None:
    import msgspec

    from tocsin_agent.cli.common import on_sighup
    from tocsin_agent.delivery.outbox import Outbox
    from tocsin_agent.messages.health import encode_health
    from tocsin_agent.runtime.assembly import Assembly
    from tocsin_agent.runtime.changes import record_configuration
    from tocsin_agent.runtime.inquiry import Answer, Inquiry
    from tocsin_agent.runtime.metrics import Metrics, MetricsServer
    from tocsin_agent.runtime.reload import Reload
    from tocsin_agent.runtime.supervision import (
        ServiceManager,
        Supervisor,
        replace_process,
        stalled_before,
    )
    from tocsin_agent.updates.field import FieldModels

    models = FieldModels.from_settings(config.model, Path(config.outbox.path))
    with Outbox.from_settings(config.outbox, config.audit) as outbox:
        record_configuration(outbox.answers, config)
        metrics = Metrics()
        assembly = Assembly(config, models, outbox, publish=True, on_delivered=metrics.delivered)
        agent = assembly.agent(on_report=metrics.report)
        metrics.follow(agent, assembly.publisher.health if assembly.publisher else None)
        if (stalled := stalled_before(os.environ)) is not None:
            assembly.raise_fault(stalled, once=True)
        supervisor = Supervisor(
            ServiceManager(os.environ),
            assembly.pulses(config.supervision.stall_s),
            followed=assembly.source_is_followed,
            replace=replace_process,
        )
        server = MetricsServer(config.metrics, metrics)
        publisher = assembly.publisher

        def answer() -> Answer:
            message = encode_health(publisher.health(), agent.health()) if publisher else b"null"
            why = supervisor.trouble()
            return Answer(healthy=not why, why=why, health=msgspec.Raw(message))

        inquiry = Inquiry(Path(config.outbox.path), answer)

        def applied(new: Config) -> None:
            apply_log(new)
            record_configuration(outbox.answers, new)

        reload = Reload(config, load, assembly, applied)

        def on_hangup() -> None:
            models.request_update()
            reload.request()

        with assembly, reload, on_sighup(on_hangup), server, supervisor, inquiry:
            agent.run(stop)
            assembly.deliver(stop)  # a recording has ended: everything is to be delivered still
        if outbox.pending():
            log.warning("%d alerts wait in %s for the next start", outbox.pending(), outbox.path)

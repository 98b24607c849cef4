"""`tocsin run`: the agent."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tocsin_agent.config.config import Config


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
    """Monitor a patient, or several, and publish alerts until stopped.

    A file with tables [[patient]] monitors several patients in one process, each with its own
    source, outbox and connection to the broker.

    Each alert is committed to the outbox before anything else happens to it, and published whenever
    the broker can be reached. SIGTERM or Ctrl-C stops the agent cleanly: its status becomes
    `stopped`, and alerts that the broker has not acknowledged are published after the next start. A
    second Ctrl-C stops it at once, without losing an alert. SIGHUP makes it look for updates of its
    models (`tocsin model --help`), and read the configuration again: broker, presence, escalation,
    signatures, log and the times of the source change at once. Of several patients the file may add
    and remove some and change anything else of them: only these begin again. A file that is invalid
    is refused as a whole, and so is one that changes anything else of a single patient.

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
    from tocsin_agent.cli.common import become_the_user, holding_sighup

    become_the_user(file)
    with holding_sighup():
        _start(file, log_format)


def _start(file: Path, log_format: str | None) -> None:
    """Become the version that is to run, and run until stopped."""
    from tocsin_agent.cli.common import stopped_by_signals
    from tocsin_agent.config.several import load_patients
    from tocsin_agent.runtime.launch import launch, start_again
    from tocsin_agent.runtime.logs import change_log, log_to_stderr

    configs = load_patients(file, os.environ)
    log_to_stderr(configs[0].log.level, log_format or configs[0].log.format)
    version = launch(configs[0].update, os.environ)

    def load() -> Sequence[Config]:
        return load_patients(file, os.environ)

    def apply_log(new: Config) -> None:
        change_log(new.log.level, log_format or new.log.format)

    with stopped_by_signals() as (stop, received):
        replaced = _run(configs, stop, load, apply_log, version)
    if replaced and not received:
        start_again(os.environ)
    if signal.SIGINT in received:
        raise click.Abort


def _run(
    configs: Sequence[Config],
    stop: threading.Event,
    load: Callable[[], Sequence[Config]],
    apply_log: Callable[[Config], None],
    version: str,
) -> bool:
    """Run all patients; return whether another version of the agent is to run now."""
    from tocsin_agent import __version__
    from tocsin_agent.cli.common import on_sighup
    from tocsin_agent.config.several import common_outbox
    from tocsin_agent.runtime.changes import record_version
    from tocsin_agent.runtime.gateway import Gateway
    from tocsin_agent.runtime.inquiry import Answer, Inquiry
    from tocsin_agent.runtime.launch import VersionWatch
    from tocsin_agent.runtime.metrics import AllMetrics, MetricsServer
    from tocsin_agent.runtime.supervision import (
        ServiceManager,
        Supervisor,
        replace_process,
        stalled_before,
    )
    from tocsin_agent.updates.probation import Condition
    from tocsin_agent.updates.slots import Slots

    gateway = Gateway(configs, load, apply_log)
    if (stalled := stalled_before(os.environ)) is not None:
        gateway.raise_fault(stalled)
    supervisor = Supervisor(
        ServiceManager(os.environ),
        gateway.pulses,
        followed=gateway.followed,
        replace=replace_process,
        restart=gateway.restart,
    )
    metrics = AllMetrics(gateway.metrics)
    server = MetricsServer(configs[0].metrics, metrics)

    def answer() -> Answer:
        why = supervisor.trouble()
        return Answer(healthy=not why, why=why, health=gateway.health())

    def condition() -> Condition:
        return Condition.of(supervisor.trouble(), bytes(gateway.health()), configs[0].device)

    def end() -> None:
        supervisor.handing_over = True
        stop.set()

    settings, watch = configs[0].update, None
    inquiry = Inquiry(common_outbox(configs), answer)
    parts = (gateway, on_sighup(gateway.request_reload), server, supervisor, inquiry)
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(part)
        if settings.folder is not None:

            def record(event: str) -> bool:
                return record_version(gateway.patients[0].outbox.answers, event)

            record(f"{__version__} runs, in {version}")
            watch = VersionWatch(
                Slots(Path(settings.folder)),
                version,
                settings.healthy_s,
                condition=condition,
                stop=end,
                record=record,
            )
            stack.enter_context(watch)
        gateway.run(stop)
    return watch is not None and watch.replaced

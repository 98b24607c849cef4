"""`tocsin presence`: take, give back and show the lease that keeps alerts at the bedside."""

from __future__ import annotations

import signal
import threading
import time
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli._broker_options import broker_options, settings_from

_SHOW_WAIT_S = 0.5


@click.group()
def command() -> None:
    """Say that a cardiologist is here, or has left.

    While the lease lives, alerts go to the bedside; when it is given back, runs out, or its holder
    vanishes, they go to the team, with every episode that is still open.
    """


def _check(site: str, role: str, holder: str) -> None:
    from tocsin_agent.messages.lease import make_lease
    from tocsin_agent.messages.topics import presence_topic

    try:
        presence_topic(site, role)
        make_lease(role, holder, 1.0, datetime.now(UTC))
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


@command.command()
@broker_options
@click.option("--site", required=True, help="The site, as in the topics.")
@click.option("--role", default="cardiologist", show_default=True, help="As what.")
@click.option("--id", "holder", required=True, help="Who: a staff pseudonym.")
@click.option(
    "--lease-s",
    type=click.FloatRange(1, 600),
    default=60.0,
    show_default=True,
    help="Length of the lease; it is renewed at a third of that.",
)
def take(site: str, role: str, holder: str, lease_s: float, **broker: Any) -> int:  # noqa: ANN401
    """Be present until Ctrl-C, which gives the lease back."""
    from tocsin_agent.team.presence_client import PresenceClient

    _check(site, role, holder)
    settings = settings_from(broker)
    done = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        done.set()

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with PresenceClient(settings, site=site, role=role, holder=holder, lease_s=lease_s) as held:
            click.echo(f"{holder} is present as {role} at {site}; Ctrl-C to leave")
            warned = False
            while not done.wait(0.25):
                if held.held.is_set() == warned:
                    warned = not warned
                    text = "cannot be renewed: alerts go to the team" if warned else "holds again"
                    click.echo(f"the lease {text}", err=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held.released:
        click.echo(f"{holder} has left; alerts go to the team")
        return ExitCode.OK
    click.echo("the broker could not be told; the lease runs out by itself", err=True)
    return ExitCode.DELIVERY


@command.command()
@broker_options
@click.option("--site", required=True, help="The site, as in the topics.")
@click.option("--role", default="cardiologist", show_default=True, help="Which role.")
@click.option("--id", "holder", default="command-line", show_default=True, help="Who says so.")
def release(site: str, role: str, holder: str, **broker: Any) -> None:  # noqa: ANN401
    """End the lease of a role, whoever holds it; a holder that is still there takes it again."""
    from tocsin_agent.messages.lease import LeaseState, encode_lease, make_lease
    from tocsin_agent.messages.topics import presence_topic
    from tocsin_agent.mqtt.connection import Connection, publish_retained

    _check(site, role, holder)
    connection = Connection(settings_from(broker), f"tocsin-presence-release-{time.time_ns():x}")
    connection.open()
    try:
        lease = make_lease(role, holder, 0.0, datetime.now(UTC), LeaseState.RELEASED)
        publish_retained(connection, presence_topic(site, role), encode_lease(lease))
    finally:
        connection.close()
    click.echo(f"the lease of {role} at {site} is released; alerts go to the team")


@command.command()
@broker_options
@click.option("--site", default="+", show_default="every site", help="Only this site.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for machines.")
def show(site: str, as_json: bool, **broker: Any) -> None:  # noqa: ANN401
    """Show who is present, as an agent with default settings would judge it."""
    import msgspec

    from tocsin_agent.delivery.presence import PresenceLedger
    from tocsin_agent.delivery.settings import PresenceSettings
    from tocsin_agent.messages.topics import ROOT, check_level, parse
    from tocsin_agent.mqtt.connection import Connection

    if site != "+":
        try:
            check_level(site, "site")
        except ValueError as exc:
            raise click.UsageError(str(exc)) from exc
    connection = Connection(settings_from(broker), f"tocsin-presence-show-{time.time_ns():x}")
    connection.open()
    found: dict[tuple[str, str], bytes] = {}
    try:
        connection.subscribe([f"{ROOT}/{site}/presence/+"])
        deadline_s = time.monotonic() + _SHOW_WAIT_S
        while (left_s := deadline_s - time.monotonic()) > 0:
            for message in connection.step(left_s).messages:
                address = parse(message.topic)
                if address is not None:
                    found[address.site, address.leaf] = message.payload
    finally:
        connection.close()
    now = datetime.now(UTC)
    for (where, role), payload in sorted(found.items()):
        ledger = PresenceLedger(PresenceSettings(roles=(role,)))
        ledger.connected()
        ledger.feed(role, payload)
        view = ledger.view(now)
        if as_json:
            record = {"site": where, "role": role, "id": view.id, "reason": view.reason}
            click.echo(msgspec.json.encode(record | {"attended": view.attended}).decode())
        else:
            state = "present" if view.attended else f"absent ({view.reason})"
            click.echo(f"{where}  {role}  {view.id or '—'}  {state}")
    if not found and not as_json:
        click.echo("nobody has taken a lease")

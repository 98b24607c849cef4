"""`tocsin presence`: take, release and show the lease that keeps alerts at the bedside."""

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
    """Take, release or show the lease that says that a cardiologist is present.

    While a lease is valid, alerts go to the bedside. When it is released or expires, or when its
    holder disconnects, alerts go to the team, and so does every episode that is still open.
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
@click.option("--role", default="cardiologist", show_default=True, help="The role.")
@click.option("--id", "holder", required=True, help="A pseudonym of the person.")
@click.option(
    "--lease-s",
    type=click.FloatRange(1, 600),
    default=60.0,
    show_default=True,
    help="Duration of the lease; it is renewed after a third of it.",
)
def take(site: str, role: str, holder: str, lease_s: float, **broker: Any) -> int:  # noqa: ANN401
    """Hold the lease until Ctrl-C, which releases it."""
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
                    text = (
                        "cannot be renewed: alerts go to the team" if warned else "is renewed again"
                    )
                    click.echo(f"the lease {text}", err=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held.released:
        click.echo(f"{holder} has left; alerts go to the team")
        return ExitCode.OK
    click.echo("the lease could not be released; it expires by itself", err=True)
    return ExitCode.DELIVERY


@command.command()
@broker_options
@click.option("--site", required=True, help="The site, as in the topics.")
@click.option("--role", default="cardiologist", show_default=True, help="The role.")
@click.option(
    "--id",
    "holder",
    default="command-line",
    show_default=True,
    help="A pseudonym of who releases it.",
)
def release(site: str, role: str, holder: str, **broker: Any) -> None:  # noqa: ANN401
    """Release the lease of a role.

    It may have another holder, whose running `take` renews it.
    """
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
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
def show(site: str, as_json: bool, **broker: Any) -> None:  # noqa: ANN401
    """Show who is present.

    Leases are judged by the rules of an agent with default settings.
    """
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
        click.echo("there is no lease")

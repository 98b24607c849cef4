"""`tocsin presence`: take, release and show the lease that keeps alerts at the bedside."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli._broker_options import broker_options, settings_from
from tocsin_agent.cli._devices import retained
from tocsin_agent.cli._signing_options import sign_option, signer_from

if TYPE_CHECKING:
    from tocsin_agent.team.presence_client import PresenceClient

_SHOW_WAIT_S = 0.5
_POLL_S = 0.25
_ASK_AGAIN_S = 30.0
_CONFIRM_AT_MOST_S = 7200.0


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


class _Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A time such as `90s`, `20m` or `2h`, in seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:  # as inherited
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", str(value))
        seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
        if not 1 <= seconds <= _CONFIRM_AT_MOST_S:
            self.fail(f"{value!r}: a time from 1s to 2h, such as 20m", param, ctx)
        return seconds


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
@click.option(
    "--confirm-every",
    "confirm_s",
    type=_Duration(),
    default="20m",
    show_default=True,
    metavar="TIME",
    help="The person must press Enter this often; else alerts go to the team.",
)
@sign_option
def take(  # noqa: PLR0917  # click passes them by name
    site: str,
    role: str,
    holder: str,
    lease_s: float,
    confirm_s: float,
    sign_with: Path | None,
    **broker: Any,  # noqa: ANN401
) -> int:
    """Hold the lease until Ctrl-C, which releases it.

    A person has to press Enter again and again (a line on standard input does as well): a computer
    that is on is nobody present. The command asks in time. Without an answer the lease is released
    and alerts go to the team, until Enter is pressed again.
    """
    from tocsin_agent.team.presence_client import PresenceClient

    _check(site, role, holder)
    settings = settings_from(broker)
    done = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        done.set()

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    client = PresenceClient(
        settings,
        site=site,
        role=role,
        holder=holder,
        lease_s=lease_s,
        confirm_s=confirm_s,
        signer=signer_from(sign_with),
    )
    try:
        with client as held:
            click.echo(f"{holder} is present as {role} at {site}; Ctrl-C to leave")
            _attend(held, done)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if client.released:
        click.echo(f"{holder} has left; alerts go to the team")
        return ExitCode.OK
    click.echo("the lease could not be released; it expires by itself", err=True)
    return ExitCode.DELIVERY


def _attend(held: PresenceClient, done: threading.Event) -> None:
    """Ask the person, take the answers, and report what becomes of the lease."""
    presses, asked_at_s, was_held = _Presses(), -_ASK_AGAIN_S, True
    while not done.is_set():
        pressed = presses.wait(_POLL_S)
        is_held = held.held.is_set()
        now_s = time.monotonic()
        left_s = held.switch.left_s(now_s)
        if is_held is not was_held:
            was_held = is_held
            lapsed = "nobody confirmed" if held.unconfirmed else "the lease cannot be renewed"
            text = "the lease is renewed again" if is_held else f"{lapsed}: alerts go to the team"
            click.echo(text, err=True)
        if pressed:
            held.confirm()
            asked_at_s = -_ASK_AGAIN_S
            click.echo("confirmed")
        elif held.switch.asks(now_s) and now_s - asked_at_s >= _ASK_AGAIN_S:
            asked_at_s = now_s
            within = f"within {left_s:.0f} s, else alerts go to the team"
            again = "to be present again: alerts go to the team"
            click.echo(f"\aStill present? Press Enter {within if left_s > 0 else again}", err=True)


class _Presses:
    """Lines on standard input, read without a thread; after its end there are none."""

    def __init__(self) -> None:
        try:
            self._fd: int | None = sys.stdin.fileno()
        except (AttributeError, OSError, ValueError):
            self._fd = None

    def wait(self, timeout_s: float) -> bool:
        """Return whether a line came within the time."""
        if self._fd is None:
            time.sleep(timeout_s)
            return False
        readable, _, _ = select.select([self._fd], [], [], timeout_s)
        if not readable:
            return False
        try:
            line = os.read(self._fd, 4096)
        except OSError:
            line = b""
        if not line:
            self._fd = None
        return bool(line)


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
@sign_option
def release(
    site: str,
    role: str,
    holder: str,
    sign_with: Path | None,
    **broker: Any,  # noqa: ANN401
) -> None:
    """Release the lease of a role.

    It may have another holder, whose running `take` renews it.
    """
    from tocsin_agent.messages.lease import LeaseState, encode_lease, make_lease
    from tocsin_agent.messages.topics import presence_topic
    from tocsin_agent.mqtt.connection import Connection, publish_retained

    _check(site, role, holder)
    connection = Connection(
        settings_from(broker),
        f"tocsin-presence-release-{time.time_ns():x}",
        signer=signer_from(sign_with),
    )
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
        for message in retained(connection, [f"{ROOT}/{site}/presence/+"], _SHOW_WAIT_S):
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
        click.echo("nobody is present, there is no lease: alerts go to the team")

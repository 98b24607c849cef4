"""`tocsin ack`: answer an alert: accept it, reject it, give it back, or silence its repeats."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli._broker_options import broker_options, settings_from
from tocsin_agent.cli._devices import active_devices, place_of
from tocsin_agent.cli._language_option import language_from, language_option
from tocsin_agent.cli._request import request
from tocsin_agent.cli._signing_options import keys_from, keys_option, sign_option, signer_from

if TYPE_CHECKING:
    from tocsin_agent.messages.response import Response
    from tocsin_agent.team.answers import Found
    from tocsin_agent.team.language import Language

_ACTIONS = ("accept", "reject", "give-back", "silence")


@click.command()
@click.argument("alert", required=False, metavar="[ALERT]")
@click.argument("action", required=False, type=click.Choice(_ACTIONS), default="accept")
@broker_options
@click.option("--as", "who", default=None, metavar="WHO", help="A pseudonym of who answers.")
@click.option("--role", default="team", show_default=True, help="In which role.")
@click.option("--site", default="+", show_default="every site", help="Only this site.")
@click.option("--device", default="+", show_default="every device", help="Only this device.")
@click.option(
    "--for",
    "silence_s",
    type=click.FloatRange(0, 3600, min_open=True),
    default=None,
    metavar="SECONDS",
    help="For how long, with silence.  [default: 120]",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="How long to wait for the device's confirmation, in seconds.",
)
@sign_option
@keys_option
@language_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
def command(  # noqa: PLR0917  # click passes them by name
    alert: str | None,
    action: str,
    who: str | None,
    role: str,
    site: str,
    device: str,
    silence_s: float | None,
    timeout_s: float,
    language: str | None,
    as_json: bool,
    sign_with: Path | None,
    keys_file: Path | None,
    **broker: Any,  # noqa: ANN401
) -> int:
    """Answer an alert: accept (the default), reject, give-back or silence.

    ALERT is the beginning of its id, as `tocsin watch` prints it. Without ALERT, what is open is
    listed. Accepting says "I take responsibility": repeats and escalation stop until the condition
    gets graver or begins again. Silence stops the repeats for a time and accepts nothing.

    Exit codes: 0 the device applied it; 5 it refused it, or did not confirm in time: then the
    answer waits at the broker.

    \b
    tocsin ack --broker HOST
    tocsin ack 3fa2c1 --as dr-k --broker HOST
    tocsin ack 3fa2c1 silence --for 60 --as dr-k --broker HOST
    """  # noqa: D301 - \b keeps click from joining the lines
    from tocsin_agent.messages.acknowledgement import Action
    from tocsin_agent.mqtt.connection import Connection
    from tocsin_agent.team.answers import answer, find
    from tocsin_agent.team.origin import Origins

    _check(alert, who, action, silence_s, (site, device))
    words = language_from(language)
    connection = Connection(
        settings_from(broker), f"tocsin-ack-{time.time_ns():x}", signer=signer_from(sign_with)
    )
    connection.open()
    try:
        origins = Origins(keys_from(keys_file))
        prefix = (alert or "").removeprefix("#")
        enough = (lambda devices: bool(find(devices, prefix))) if len(prefix) > 7 else None
        devices = active_devices(connection, origins, (site, device), enough)
        found = find(devices, prefix)
        if alert is None:
            _list(found, words, as_json=as_json)
            return ExitCode.OK
        chosen = _only(found, alert, words)
        sent = answer(
            chosen.active.site,
            chosen.active.device,
            chosen.alert.alert_id,
            who=who or "",
            role=role,
            action=Action(action.replace("-", "_")),
            at=datetime.now(UTC),
            silence_s=silence_s,
        )
        response = request(connection, origins, sent, timeout_s)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    finally:
        connection.close()
    return _report(response, chosen, words, timeout_s, as_json=as_json)


def _check(
    alert: str | None, who: str | None, action: str, silence_s: float | None, where: tuple[str, str]
) -> None:
    from tocsin_agent.messages.topics import check_level

    if alert is not None and who is None:
        raise click.UsageError("say who answers: --as WHO, a pseudonym")
    if silence_s is not None and action != "silence":
        raise click.UsageError("--for belongs to the action silence")
    for name, what in zip(where, ("site", "device"), strict=True):
        if name != "+":
            try:
                check_level(name, what)
            except ValueError as exc:
                raise click.UsageError(str(exc)) from exc


def _only(found: list[Found], alert: str, language: Language) -> Found:
    if len(found) == 1:
        return found[0]
    if not found:
        raise click.UsageError(
            f"no open alert begins with {alert!r}: `tocsin ack` without an alert lists what is open"
        )
    listed = "\n".join(_line(one, language) for one in found)
    raise click.UsageError(f"several open alerts begin with {alert!r}:\n{listed}")


def _report(
    response: Response | None, chosen: Found, language: Language, timeout_s: float, *, as_json: bool
) -> int:
    import msgspec

    from tocsin_agent.messages.printable import clean

    if response is None:
        text = (
            f"the device did not confirm within {timeout_s:g} s: the answer waits at the broker; "
            f"ask `tocsin ack` what is open, or call {place_of(chosen.active)}"
        )
        click.echo(text, err=True)
        return ExitCode.DELIVERY
    if as_json:
        click.echo(msgspec.json.encode(response).decode())
    else:
        condition = language.condition_of(chosen.alert.code, {})
        said = f"{place_of(chosen.active)}: {condition}: {language.outcome(response)}"
        click.echo(clean(said), err=response.outcome.refused)
    return ExitCode.DELIVERY if response.outcome.refused else ExitCode.OK


def _list(found: list[Found], language: Language, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        for one in found:
            record = {"site": one.active.site, "device": one.active.device, "alert": one.alert}
            click.echo(msgspec.json.encode(record).decode())
        return
    for one in found:
        click.echo(_line(one, language))
    if not found:
        click.echo(language.words.nothing_active)


def _line(one: Found, language: Language) -> str:
    from tocsin_agent.messages.printable import clean

    words, alert = language.words, one.alert
    who = alert.holder or words.nobody_yet
    over = words.has_ended if alert.end_observed else words.end_not_observed
    ended = f"  ({over})" if alert.ended_at else ""
    return clean(
        f"{alert.alert_id[:6]}  {place_of(one.active)}: {language.condition_of(alert.code, {})}"
        f"{ended}  {words.who_column}: {who}"
    )

"""`tocsin context`: show, state or take back what is known of a patient."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
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
    from tocsin_agent.messages.context import PatientContext
    from tocsin_agent.messages.response import Response
    from tocsin_agent.mqtt.connection import Connection

_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


class _Span(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A time such as `30m`, `8h` or `3d`."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:  # as inherited
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", str(value))
        if not found or not 0 < float(found[1]) < 1e6:
            self.fail(f"{value!r}: a time such as 30m, 8h or 3d", param, ctx)
        return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])


class _Off(_Span):
    """An alarm and for how long it is switched off, such as `couplet=8h`."""

    name = "code=time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # noqa: ANN401  # as inherited
        if isinstance(value, tuple):
            return value
        code, equals, span = str(value).partition("=")
        if not equals:
            self.fail(f"{value!r}: an alarm and a time, such as couplet=8h", param, ctx)
        return code, super().convert(span, param, ctx)


@click.group()
def command() -> None:
    """Show, state or take back what is known of a patient, and changes which alarms make sense.

    A context that is stated here takes the place of the one in the configuration, until it is
    cleared. It is kept over a restart of the device; every change is in its audit trail.
    """


def _whose(function: Any) -> Any:  # noqa: ANN401
    """Add the options that say whose context it is, and who states it."""
    for option in reversed(
        (
            click.option("--site", required=True, help="The site, as in the topics."),
            click.option("--device", required=True, help="The device, as in the topics."),
            click.option(
                "--as", "who", required=True, metavar="WHO", help="A pseudonym of who states it."
            ),
            click.option("--role", default="team", show_default=True, help="In which role."),
            click.option(
                "--patient",
                default=None,
                help="The patient's pseudonym: refused if the device has another patient.",
            ),
            click.option(
                "--timeout",
                "timeout_s",
                type=click.FloatRange(0, min_open=True),
                default=10.0,
                show_default=True,
                help="How long to wait for the device's confirmation, in seconds.",
            ),
            sign_option,
            keys_option,
            language_option,
        )
    ):
        function = option(function)
    return function


@command.command()
@broker_options
@click.option("--site", default="+", show_default="every site", help="Only this site.")
@click.option("--device", default="+", show_default="every device", help="Only this device.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@keys_option
@language_option
def show(
    site: str,
    device: str,
    as_json: bool,
    keys_file: Path | None,
    language: str | None,
    **broker: Any,  # noqa: ANN401
) -> None:
    """Show the context that applies at each device."""
    import msgspec

    from tocsin_agent.team.context import in_words
    from tocsin_agent.team.origin import Origins

    words = language_from(language)
    connection = _open(broker, site, device)
    try:
        devices = active_devices(connection, Origins(keys_from(keys_file)), (site, device))
    finally:
        connection.close()
    for active in sorted(devices, key=lambda one: (one.site, one.device)):
        if as_json:
            record = {"site": active.site, "device": active.device, "context": active.context}
            click.echo(msgspec.json.encode(record).decode())
        else:
            said = in_words(active.context, words, None) or "—"
            click.echo(f"{place_of(active)}  ({active.site}/{active.device}): {said}")


@command.command(name="set")
@broker_options
@_whose
@click.option(
    "--age", type=click.Choice(["adult", "child", "neonate"]), default=None, help="Age class."
)
@click.option("--paced/--not-paced", default=None, help="A ventricular pacemaker.")
@click.option("--known-af/--no-known-af", default=None, help="Permanent atrial fibrillation.")
@click.option(
    "--usual-rate", type=click.FloatRange(30, 220), default=None, help="Usual heart rate at rest."
)
@click.option("--no-usual-rate", is_flag=True, help="The usual heart rate is not known.")
@click.option(
    "--off", type=_Off(), multiple=True, help="Switch an alarm off for some time: couplet=8h."
)
@click.option("--on", multiple=True, metavar="CODE", help="Switch an alarm on again.")
@click.option("--for", "span", type=_Span(), default=None, help="For how long all of this applies.")
@click.option(
    "--replace",
    is_flag=True,
    help="State only what is given here, instead of changing what applies now.",
)
def set_(  # noqa: PLR0917  # click passes them by name
    site: str,
    device: str,
    who: str,
    role: str,
    patient: str | None,
    timeout_s: float,
    sign_with: Path | None,
    keys_file: Path | None,
    language: str | None,
    age: str | None,
    paced: bool | None,
    known_af: bool | None,
    usual_rate: float | None,
    no_usual_rate: bool,
    off: tuple[tuple[str, timedelta], ...],
    on: tuple[str, ...],
    span: timedelta | None,
    replace: bool,
    **broker: Any,  # noqa: ANN401
) -> int:
    """State what is known of a patient; what is not given stays as it is.

    \b
    tocsin context set --site ward3 --device bed7 --as dr-k --age child
    tocsin context set --site ward3 --device bed7 --as dr-k --known-af --off couplet=8h
    """  # noqa: D301 - \b keeps click from joining the lines
    from tocsin_agent.messages.context import PatientContext
    from tocsin_agent.team.context import state
    from tocsin_agent.team.origin import Origins

    given: dict[str, Any] = {"age": age, "paced": paced, "atrial_fibrillation": known_af}
    given = {name: value for name, value in given.items() if value is not None}
    if usual_rate is not None or no_usual_rate:
        given["usual_rate_bpm"] = usual_rate
    if not (given or off or on):
        raise click.UsageError("say what is known, for example --paced; see --help")
    connection, now = _open(broker, site, device, sign_with), datetime.now(UTC)
    try:
        applies = PatientContext() if replace else _applies(connection, keys_file, (site, device))
        context = _changed(applies, given, {code: now + time for code, time in off}, on)
        until = now + span if span is not None else None
        made = state(
            site, device, context, who=who, role=role, at=now, patient=patient, until=until
        )
        answer = request(connection, Origins(keys_from(keys_file)), made, timeout_s)
        return _report(answer, language, timeout_s)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    finally:
        connection.close()


@command.command()
@broker_options
@_whose
def clear(  # noqa: PLR0917  # click passes them by name
    site: str,
    device: str,
    who: str,
    role: str,
    patient: str | None,
    timeout_s: float,
    sign_with: Path | None,
    keys_file: Path | None,
    language: str | None,
    **broker: Any,  # noqa: ANN401
) -> int:
    """Take back what was stated: the context of the configuration applies again."""
    from tocsin_agent.team.context import state
    from tocsin_agent.team.origin import Origins

    connection, now = _open(broker, site, device, sign_with), datetime.now(UTC)
    try:
        made = state(site, device, None, who=who, role=role, at=now, patient=patient)
        answer = request(connection, Origins(keys_from(keys_file)), made, timeout_s)
        return _report(answer, language, timeout_s)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    finally:
        connection.close()


def _open(
    broker: dict[str, Any], site: str, device: str, sign_with: Path | None = None
) -> Connection:
    from tocsin_agent.messages.topics import check_level
    from tocsin_agent.mqtt.connection import Connection

    for name, what in ((site, "site"), (device, "device")):
        if name != "+":
            try:
                check_level(name, what)
            except ValueError as exc:
                raise click.UsageError(str(exc)) from exc
    name = f"tocsin-context-{time.time_ns():x}"
    connection = Connection(settings_from(broker), name, signer=signer_from(sign_with))
    connection.open()
    return connection


def _applies(
    connection: Connection, keys_file: Path | None, where: tuple[str, str]
) -> PatientContext:
    """Return the context that applies at a device now."""
    import msgspec

    from tocsin_agent.team.context import read_context
    from tocsin_agent.team.origin import Origins

    origins, name = Origins(keys_from(keys_file)), "/".join(where)
    found = active_devices(connection, origins, where, enough=bool)
    if not found:
        raise click.UsageError(
            f"nothing is known of {name}: check the names, or use --replace for a device "
            "that has never been connected"
        )
    try:
        return read_context(found[0].context)
    except msgspec.ValidationError as exc:
        raise click.UsageError(
            f"the context of {name} is of a later version ({exc}): use --replace"
        ) from exc


def _changed(
    context: PatientContext,
    given: dict[str, Any],
    off: dict[str, datetime],
    on: tuple[str, ...],
) -> PatientContext:
    import msgspec

    from tocsin_agent.messages.context import DoNotAlarm

    kept = {entry.code: entry for entry in context.do_not_alarm if entry.code not in on}
    kept |= {code: DoNotAlarm(code, until) for code, until in off.items()}
    values = msgspec.to_builtins(context) | given
    values["do_not_alarm"] = [msgspec.to_builtins(entry) for entry in kept.values()]
    return msgspec.convert(values, type(context))


def _report(response: Response | None, language: str | None, timeout_s: float) -> int:
    from tocsin_agent.messages.printable import clean

    if response is None:
        click.echo(
            f"the device did not confirm within {timeout_s:g} s: the context waits at the broker",
            err=True,
        )
        return ExitCode.DELIVERY
    words = language_from(language)
    said = words.phrase(response.text)
    if response.outcome.refused:
        said = words.words.refused.format(why=said)
    click.echo(clean(said), err=response.outcome.refused)
    return ExitCode.DELIVERY if response.outcome.refused else ExitCode.OK

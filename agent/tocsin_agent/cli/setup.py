"""`tocsin setup`: write the configuration of a gateway, check all it names, send a test alert."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tocsin_agent.cli import ExitCode, exit_code_for
from tocsin_agent.cli._broker_options import broker_options, settings_from
from tocsin_agent.cli.common import FiniteRange, agent_user, become_the_user

if TYPE_CHECKING:
    from tocsin_agent.config.config import Config
    from tocsin_agent.mqtt.settings import MqttSettings

_DEVICE = "{device}"


class Check(NamedTuple):
    """One thing that was tried."""

    name: str
    ok: bool
    detail: str
    code: ExitCode = ExitCode.OK


class Trial(NamedTuple):
    """What is tried beyond the configuration: how long, and who is informed."""

    source_s: float
    wait_s: float
    home_assistant: bool
    say: Callable[[str], None] | None


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/tocsin/tocsin.toml"),
    show_default=True,
    help="The file to write; one that exists is used as it is.",
)
@click.option("--force", is_flag=True, help="Write the file although it exists.")
@click.option("--site", default=None, help="Name of the site; asked for if missing.")
@click.option("--device", default=None, help="Name of this device; asked for if missing.")
@click.option("--source", default=None, help="Where the samples come from; asked for if missing.")
@click.option(
    "--bed",
    "beds",
    multiple=True,
    metavar="DEVICE=SOURCE",
    help="One of several patients, in place of --device and --source; repeat it. `{device}` in "
    "--username and --password-file stands for its name.",
)
@click.option("--location", default=None, help="Where help must go, such as `Ward 3, bed 12`.")
@click.option(
    "--outbox", default="/var/lib/tocsin/outbox.db", show_default=True, help="The outbox."
)
@broker_options
@click.option(
    "--source-wait",
    "source_s",
    type=FiniteRange(0),
    default=15.0,
    show_default=True,
    help="Longest wait for samples, in seconds; 0 does not open the source.",
)
@click.option(
    "--wait",
    "wait_s",
    type=FiniteRange(0),
    default=120.0,
    show_default=True,
    help="Longest wait for somebody who accepts the test alert, in seconds; 0 sends none.",
)
@click.option(
    "--home-assistant",
    is_flag=True,
    help="Also announce the device to Home Assistant, retained on homeassistant/device/...",
)
@click.option("--json", "as_json", is_flag=True, help="Ask nothing, and print JSON.")
def command(  # noqa: PLR0917  # click passes them by name
    file: Path,
    force: bool,
    site: str | None,
    device: str | None,
    source: str | None,
    beds: tuple[str, ...],
    location: str | None,
    outbox: str,
    source_s: float,
    wait_s: float,
    home_assistant: bool,
    as_json: bool,
    **broker: Any,  # noqa: ANN401
) -> int:
    """Set a gateway up, before its service is started.

    Writes the configuration; checks it, the source, the broker, the clock, and whether the user
    `tocsin` may use the disk and the files (as root it becomes that user first); then sends a test
    alert, marked as a test, and waits until somebody accepts it (`tocsin ack`, the board). What is
    known already is not asked. Of several patients each source and each user at the broker is
    tried; the test alert is that of the first.

    Exit codes: 0 all is well, and somebody accepted the test alert; 2 something is missing; 3 the
    configuration, a file or the clock; 4 the source; 5 the broker, or nobody accepted.

    \b
    tocsin setup
    tocsin setup --site ward3 --device bed7 --source serial:/dev/ttyUSB0 --broker broker.example --tls
    tocsin setup --site ward3 --bed bed7=serial:/dev/ttyUSB0 --bed bed8=serial:/dev/ttyUSB1 --tls \\
      --broker broker.example --username "{device}" --password-file "/etc/tocsin/{device}.password"
    """  # noqa: D301, E501 - \b keeps click from joining the lines; one command is one line
    if force or not file.exists():
        asked = {"site": site, "device": device, "source": source}
        if beds:
            if device or source or location:
                raise click.UsageError("--bed takes the place of --device, --source and --location")
            asked = {"site": site}
        names = _answered(asked, ask=not as_json)
        settings = settings_from(broker)
        if beds:
            text = _rendered_beds(names["site"], beds, outbox, settings)
        else:
            text = _rendered(names, location, outbox, settings)
        _write(file, text)
    elif beds or site or device or source or location:
        _say(f"{file} is there already and is used as it is; --force writes it again")
    become_the_user(file)
    done = list[Check]()
    trial = Trial(source_s, wait_s, home_assistant, None if as_json else _say)
    for check in _checks(file, trial):
        done.append(check)
        if not as_json:
            mark = "ok    " if check.ok else "FAILED"
            click.echo(f"{mark}  {check.name}: {check.detail}")
    if as_json:
        click.echo(json.dumps([check._asdict() | {"code": int(check.code)} for check in done]))
    elif all(check.ok for check in done):
        click.echo("Start it: systemctl start tocsin")
    return next((check.code for check in done if not check.ok), ExitCode.OK)


def _answered(known: dict[str, str | None], *, ask: bool) -> dict[str, str]:
    """Return names, after asking for those that are missing."""
    found = {}
    for name, value in known.items():
        if value is None and not ask:
            raise click.UsageError(f"--json asks nothing: give --{name}")
        found[name] = value or str(click.prompt(name.capitalize()))
    return found


def _say(text: str) -> None:
    click.echo(text, err=True)


def _rendered(
    names: dict[str, str], location: str | None, outbox: str, broker: MqttSettings
) -> str:
    broker = _for_device(broker, names["device"])
    lines = [f"{name} = {json.dumps(names[name])}" for name in ("site", "device")]
    if location:
        lines.append(f"location = {json.dumps(location)}")
    lines += ["", "[source]", f"uri = {json.dumps(names['source'])}"]
    return "\n".join([*lines, *_common(broker, outbox, _stated(broker))]) + "\n"


def _rendered_beds(site: str, beds: tuple[str, ...], outbox: str, broker: MqttSettings) -> str:
    import msgspec

    stated = _stated(broker)
    tls = {} if broker.tls is None else msgspec.to_builtins(broker.tls)
    if _DEVICE in str(tls):
        stated["tls"] = {name: value for name, value in tls.items() if value is not None}
        broker = msgspec.structs.replace(broker, tls=None)
    own = {name: value for name, value in stated.items() if _DEVICE in str(value)}
    common = {name: value for name, value in stated.items() if name not in own}
    lines = [f"site = {json.dumps(site)}", *_common(broker, outbox, common)]
    for bed in beds:
        device, equals, uri = bed.partition("=")
        if not (device and equals and uri):
            raise click.UsageError(f"--bed {bed!r}: DEVICE=SOURCE expected")
        lines += ["", "[[patient]]", f"device = {json.dumps(device)}"]
        lines.append(f"source = {{ uri = {json.dumps(uri)} }}")
        if own:
            lines.append(f"mqtt = {_inline(own).replace(_DEVICE, json.dumps(device)[1:-1])}")
    return "\n".join(lines) + "\n"


def _inline(value: object) -> str:
    """Return a value in TOML, on one line."""
    if not isinstance(value, dict):
        return json.dumps(value)
    return "{ " + ", ".join(f"{name} = {_inline(one)}" for name, one in value.items()) + " }"


def _for_device(broker: MqttSettings, device: str) -> MqttSettings:
    """Return the settings with the name of the device where they say `{device}`."""
    import msgspec

    text = msgspec.json.encode(broker).decode()
    replaced = text.replace(_DEVICE, json.dumps(device)[1:-1])
    return msgspec.json.decode(replaced, type=type(broker))


def _stated(broker: MqttSettings) -> dict[str, Any]:
    """Return the host, and the keys of a broker that differ from their defaults, but for TLS."""
    import msgspec

    from tocsin_agent.mqtt.settings import MqttSettings

    known = msgspec.to_builtins(MqttSettings())
    return {
        name: value
        for name, value in msgspec.to_builtins(broker).items()
        if name == "host" or (name != "tls" and value != known[name])
    }


def _common(broker: MqttSettings, outbox: str, keys: dict[str, Any]) -> list[str]:
    """Return the sections of the broker and of the outbox."""
    import msgspec

    lines = ["", "[mqtt]", *(f"{name} = {json.dumps(value)}" for name, value in keys.items())]
    if broker.tls is not None:
        lines += ["", "[mqtt.tls]"]
        files = msgspec.to_builtins(broker.tls)
        lines += [f"{n} = {json.dumps(v)}" for n, v in files.items() if v is not None]
    return [*lines, "", "[outbox]", f"path = {json.dumps(outbox)}"]


def _write(file: Path, text: str) -> None:
    """Write the file whole or not at all, readable for the agent and for nobody else."""
    from tocsin_agent.config.several import load_patients
    from tocsin_agent.durable_file import sync_folder, write_file
    from tocsin_agent.errors import ConfigError

    temporary = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # of a setup that was interrupted
        write_file(temporary, text.encode(), 0o640)
        if (user := agent_user()) is not None:
            os.chown(temporary, 0, user[1])
        load_patients(temporary)  # a file that cannot be read takes no other's place
        temporary.replace(file)
        sync_folder(file.absolute().parent)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _checks(file: Path, trial: Trial) -> Iterator[Check]:
    from tocsin_agent.config.several import common_outbox, load_patients
    from tocsin_agent.runtime.preflight import problems

    configs = load_patients(file, os.environ)
    found = [(config, problem) for config in configs for problem in problems(config)]
    for config, problem in found:
        in_source = problem.key.startswith("source")
        code = ExitCode.SOURCE if in_source else ExitCode.CONFIGURATION
        name = _of(config, configs, problem.key)
        yield Check(name, ok=False, detail=problem.message, code=code)
    if found:
        return
    named = ", ".join(config.device for config in configs)
    yield Check("configuration", ok=True, detail=f"{file}: {configs[0].site}/{named}")
    outbox = common_outbox(configs) if len(configs) > 1 else Path(configs[0].outbox.path)
    yield Check("disk", ok=True, detail=_space(outbox))
    yield _clock()
    if _runs(outbox):
        why = "the agent runs already: systemctl stop tocsin"
        yield Check("agent", ok=False, detail=why, code=ExitCode.USAGE)
        return
    for config in configs:
        only = trial if config is configs[0] else trial._replace(wait_s=0.0)
        for check in _tried(config, only):
            yield check._replace(name=_of(config, configs, check.name))


def _of(config: Config, configs: Sequence[Config], name: str) -> str:
    """Return the name of a check, with the device where there are several."""
    return f"{config.device}: {name}" if len(configs) > 1 else name


def _runs(outbox: Path) -> bool:
    """Return whether an agent with this outbox runs; one that was killed leaves its socket."""
    from tocsin_agent.errors import DeliveryError
    from tocsin_agent.runtime.inquiry import inquire

    try:
        inquire(outbox)
    except DeliveryError as error:
        return isinstance(error.__cause__, TimeoutError)
    return True


def _tried(config: Config, trial: Trial) -> Iterator[Check]:
    """Yield what needs the device, the broker and people."""
    from tocsin_agent.runtime.trial import samples_of, send_test_alert

    if trial.source_s:
        yield _attempt("source", lambda: samples_of(config.source, trial.source_s))
    broker = _attempt("broker", lambda: _connected(config))
    yield broker
    if broker.ok and trial.home_assistant:
        yield _attempt("home assistant", lambda: _announced(config))
    if not (broker.ok and trial.wait_s):
        return
    if trial.say is not None:
        trial.say(
            f"Sending a test alert: accept it within {trial.wait_s:g} s (tocsin ack, the board)"
        )
    seen = send_test_alert(config, trial.wait_s)
    if seen.accepted_by is not None:
        yield Check("test alert", ok=True, detail=f"accepted by {seen.accepted_by}")
        return
    if seen.shown:
        why = "a receiver has shown it, and nobody accepted it in time"
    elif seen.published:
        why = "no receiver confirmed it: does one run, and may it read the topics of this device?"
    else:
        why = "the broker did not acknowledge it: may this user write its topics?"
    yield Check("test alert", ok=False, detail=why, code=ExitCode.DELIVERY)


def _attempt(name: str, work: Callable[[], str]) -> Check:
    from tocsin_dsp.errors import TocsinError

    try:
        return Check(name, ok=True, detail=work())
    except TocsinError as error:
        return Check(name, ok=False, detail=str(error), code=exit_code_for(error))


def _connected(config: Config) -> str:
    from tocsin_agent.mqtt.connection import Connection

    connection = Connection(config.mqtt, f"tocsin-{config.site}-{config.device}")
    connection.open()
    lacks = "; ".join(" ".join(texts) for texts in connection.restrictions.values())
    connection.close()
    return f"{connection.where} accepts {config.mqtt.username or 'connections without a user'}" + (
        f"; it {lacks}" if lacks else ""
    )


def _announced(config: Config) -> str:
    from tocsin_agent.messages.home_assistant import announcement
    from tocsin_agent.mqtt.connection import Connection, publish_retained

    topic, payload = announcement(config.site, config.device, config.who.location)
    connection = Connection(config.mqtt, f"tocsin-{config.site}-{config.device}")
    connection.open()
    try:
        publish_retained(connection, topic, payload)
    finally:
        connection.close()
    return f"announced on {topic}"


def _clock() -> Check:
    from datetime import UTC, datetime

    from tocsin_agent.wall_clock import is_set

    now = datetime.now(UTC)
    text = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if is_set(now):
        return Check("clock", ok=True, detail=text)
    why = f"{text} has not been set: timedatectl, or the network"
    return Check("clock", ok=False, detail=why, code=ExitCode.CONFIGURATION)


def _space(outbox: Path) -> str:
    folder = next(parent for parent in outbox.absolute().parents if parent.exists())
    space = os.statvfs(folder)
    return f"{folder}: {space.f_bavail * space.f_frsize // 1_000_000} MB free"

"""The options of every command that connects to a broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--broker",
        metavar="HOST[:PORT]",
        envvar="TOCSIN_BROKER",
        help="The broker; or use --host and --port.",
    ),
    click.option("--host", default=None, help="Broker's name or address.  [default: localhost]"),
    click.option(
        "--port",
        type=click.IntRange(1, 65535),
        default=None,
        help="Broker's port.  [default: 1883, with TLS 8883]",
    ),
    click.option(
        "--mqtt-version",
        type=click.Choice(["5", "3.1.1"]),
        default="5",
        show_default=True,
        help="MQTT version.",
    ),
    click.option("--username", default=None, help="User at the broker."),
    click.option(
        "--password-file",
        default=None,
        type=click.Path(dir_okay=False),
        help="File with the password; or set TOCSIN_MQTT_PASSWORD.",
    ),
    click.option(
        "--tls", is_flag=True, help="Use TLS with the certificate authorities of the system."
    ),
    click.option(
        "--ca-file",
        default=None,
        type=click.Path(dir_okay=False),
        help="Certificate authority of the broker; implies --tls.",
    ),
    click.option(
        "--cert-file",
        default=None,
        type=click.Path(dir_okay=False),
        help="Certificate of this client; implies --tls.",
    ),
    click.option(
        "--key-file",
        default=None,
        type=click.Path(dir_okay=False),
        help="Key of --cert-file.",
    ),
    click.option(
        "--allow-plaintext",
        is_flag=True,
        help="Connect to another machine without TLS: others can read and forge the messages.",
    ),
)


def broker_options(command: F) -> F:
    """Add the broker options to a command; `settings_from` reads them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settings_from(options: dict[str, Any]) -> Any:  # noqa: ANN401  # MqttSettings, imported late
    """Remove the broker options from a command's keyword arguments, and return the settings.

    Returns
    -------
    MqttSettings
        How to reach the broker.

    Raises
    ------
    click.UsageError
        If they contradict each other.
    """
    from tocsin_agent.mqtt.settings import MqttSettings, TlsSettings

    broker, host, port = options.pop("broker"), options.pop("host"), options.pop("port")
    if host is not None and port is not None:
        broker = None  # options given explicitly win over the environment
    if broker is not None:
        named_host, named_port = _split(broker)
        host, port = host or named_host, port or named_port
    files = {name: options.pop(name) for name in ("ca_file", "cert_file", "key_file")}
    tls = None
    if options.pop("tls") or any(files.values()):
        tls = TlsSettings(**files)
    try:
        return MqttSettings(
            host=host or "localhost",
            port=port or (8883 if tls else 1883),
            version=options.pop("mqtt_version"),
            username=options.pop("username"),
            password_file=options.pop("password_file"),
            tls=tls,
            allow_plaintext=options.pop("allow_plaintext"),
        )
    except ValueError as exc:
        raise click.UsageError(_as_options(str(exc))) from exc


def _as_options(message: str) -> str:
    """Return what is wrong in terms of the options of a command."""
    return message.replace(
        "add [mqtt.tls], or set allow_plaintext = true", "use --ca-file, --tls or --allow-plaintext"
    )


def _split(broker: str) -> tuple[str, int | None]:
    """Read `HOST`, `HOST:PORT` or `[IPV6]:PORT`."""
    if broker.startswith("["):
        host, _, rest = broker[1:].partition("]")
        port = rest.removeprefix(":")
    elif broker.count(":") == 1:
        host, _, port = broker.partition(":")
    else:
        host, port = broker, ""
    if not host or (port and not (port.isdigit() and 0 < int(port) < 65536)):
        raise click.UsageError(f"--broker {broker!r}: HOST or HOST:PORT expected")
    return host, int(port) if port else None

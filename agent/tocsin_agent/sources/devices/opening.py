"""From the name of a device to its wire or its source.

This module is light: each function imports what it opens when it is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from tocsin_agent.errors import SourceError, SourceFault

if TYPE_CHECKING:
    from tocsin_agent.sources.base import Source
    from tocsin_agent.sources.devices.wires.base import Wire

_TLS_OPTIONS = ("cert", "key", "ca")


def open_link(wire: Wire, leads: Sequence[str] | None, block_s: float) -> Source:
    """Return the source for a device that speaks the link protocol on this wire."""
    from tocsin_agent.sources.devices.link_source import LinkSource

    return LinkSource(wire, leads=leads, block_s=block_s)


def open_capture(path: Path, leads: Sequence[str] | None, block_s: float) -> Source:
    """Return the source for a file that holds what a device sent."""
    from tocsin_agent.sources.devices.link_source import CaptureSource

    return CaptureSource(path, leads=leads, block_s=block_s)


def open_polar(uri: str, leads: Sequence[str] | None, block_s: float) -> Source:
    """Return the source for `h10:ADDRESS`; raises as `serial_wire`."""
    from tocsin_agent.sources.devices.ble import PolarSource

    with _malformed(uri):
        address, options = _name_and_options(uri, example="h10:A0:9E:1A:00:11:22")
        _refuse_others(options)
        return PolarSource(address, leads=leads, block_s=block_s)


def open_heart_rate(uri: str, leads: Sequence[str] | None, block_s: float) -> Source:
    """Return the source for `hr:ADDRESS`; raises as `serial_wire`."""
    from tocsin_agent.sources.devices.ble import HeartRateSource

    with _malformed(uri):
        address, options = _name_and_options(uri, example="hr:A0:9E:1A:00:11:22")
        _refuse_others(options)
        return HeartRateSource(address, leads=leads, block_s=block_s)


def open_lsl(uri: str, leads: Sequence[str] | None, block_s: float) -> Source:
    """Return the source for `lsl:NAME?unit=UNIT`; raises as `serial_wire`."""
    from tocsin_agent.sources.devices.lsl import LslSource

    with _malformed(uri):
        name, options = _name_and_options(uri, example="lsl:MyAmplifier")
        _refuse_others(options, "unit")
        return LslSource(name, unit=options.get("unit"), leads=leads, block_s=block_s)


def serial_wire(uri: str) -> Wire:
    """Return the wire for `serial:PATH?baud=RATE`.

    Raises
    ------
    SourceError
        `MALFORMED` for a name that is not understood.
    """
    from tocsin_agent.sources.devices.wires.serial import SerialWire

    with _malformed(uri):
        parts = urlsplit(uri)
        options = _options(parts.query)
        _refuse_others(options, "baud")
        if not parts.path:
            raise ValueError("name the port, such as serial:/dev/ttyACM0")
        return SerialWire(unquote(parts.path), int(options.get("baud", "115200")))


def network_wire(uri: str) -> Wire:
    """Return the wire for `tcp://`, `tls://` or `udp://HOST:PORT`; raises as `serial_wire`."""
    with _malformed(uri):
        parts = urlsplit(uri)
        return _network(parts, _options(parts.query))


def _network(parts: SplitResult, options: dict[str, str]) -> Wire:
    from tocsin_agent.sources.devices.wires.tcp import TcpWire
    from tocsin_agent.sources.devices.wires.udp import UdpWire

    scheme = parts.scheme
    _refuse_others(options, *(_TLS_OPTIONS if scheme == "tls" else ()))
    if parts.port is None or parts.path.strip("/"):
        raise ValueError(f"give address and port, such as {scheme}://0.0.0.0:7208")
    host = parts.hostname or ""
    if scheme == "udp":
        return UdpWire(host, parts.port)
    if scheme == "tcp":
        return TcpWire(host, parts.port)
    if "cert" not in options:
        raise ValueError("TLS needs a certificate: ?cert=FILE&key=FILE")
    files = [Path(options[name]) if name in options else None for name in _TLS_OPTIONS]
    return TcpWire(host, parts.port, certificate=files[0], key=files[1], authority=files[2])


def mqtt_wire(uri: str) -> Wire:
    """Return the wire for `mqtt://` or `mqtts://USER@HOST/TOPIC`; raises as `serial_wire`."""
    with _malformed(uri):
        parts = urlsplit(uri)
        return _mqtt(uri, parts, _options(parts.query))


def _mqtt(uri: str, parts: SplitResult, options: dict[str, str]) -> Wire:
    from tocsin_agent.mqtt.settings import MqttSettings
    from tocsin_agent.sources.devices.wires.mqtt import MqttWire

    tls = parts.scheme == "mqtts"
    _refuse_others(options, "version", *(_TLS_OPTIONS if tls else ()))
    if parts.password is not None or not parts.hostname or "#" in uri:
        raise ValueError(
            "give mqtt://[USER@]HOST[:PORT]/TOPIC; the password is taken from the environment"
        )
    files = {f"{name}_file": options[name] for name in _TLS_OPTIONS if name in options}
    settings = {
        "host": parts.hostname,
        "port": parts.port or (8883 if tls else 1883),
        "version": options.get("version", "5"),
        "username": unquote(parts.username) if parts.username else None,
        "tls": files if tls else None,
        "allow_plaintext": True,  # the scheme says so
    }
    return MqttWire(msgspec.convert(settings, MqttSettings), unquote(parts.path).removeprefix("/"))


@contextmanager
def _malformed(uri: str) -> Iterator[None]:
    """Turn a `ValueError` into a `SourceError` that names the source."""
    try:
        yield
    except ValueError as error:
        raise SourceError(SourceFault.MALFORMED, f"{uri}: {error}") from error


def _name_and_options(uri: str, *, example: str) -> tuple[str, dict[str, str]]:
    """Split `SCHEME:NAME?OPTIONS`, whose name may hold colons."""
    name, _, query = uri.partition(":")[2].partition("?")
    if not name:
        raise ValueError(f"name the device, such as {example}")
    return unquote(name), _options(query)


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for each in filter(None, query.split("&")):
        name, given, value = each.partition("=")
        if not given or not value:
            raise ValueError(f"option {each!r} has no value: write NAME=VALUE")
        options[unquote(name)] = unquote(value)
    return options


def _refuse_others(options: dict[str, str], *known: str) -> None:
    for name in options:
        if name not in known:
            right = f"known are {', '.join(known)}" if known else "there are no options here"
            raise ValueError(f"option {name!r} is not understood; {right}")

"""From the name of a live link to its source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

import msgspec

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import Source
from tocsin_agent.sources.devices.wires.base import Wire

WIRES = frozenset({"serial", "tcp", "tls", "udp", "mqtt", "mqtts"})  # of the link protocol
SCHEMES = WIRES | {"h10", "lsl"}
CAPTURE = ".link"
_EXAMPLES = {"h10": "A0:9E:1A:00:11:22", "lsl": "MyAmplifier"}
_TLS_OPTIONS = ("cert", "key", "ca")


def is_link(uri: str) -> bool:
    """Tell whether a name is that of a link."""
    return uri.partition(":")[0] in SCHEMES or uri.endswith(CAPTURE)


def open_link(uri: str, *, leads: Sequence[str] | None = None, block_s: float = 0.25) -> Source:
    """Return the source for a link's name.

    Raises
    ------
    SourceError
        `MALFORMED` for a name that is not understood.
    """
    from tocsin_agent.sources.devices.link_source import CaptureSource, LinkSource  # noqa: PLC0415 - start-up

    if uri.endswith(CAPTURE):
        return CaptureSource(Path(uri).expanduser(), leads=leads, block_s=block_s)
    if uri.partition(":")[0] in WIRES:
        return LinkSource(wire_for(uri), leads=leads, block_s=block_s)
    return _foreign(uri, leads, block_s)


def _foreign(uri: str, leads: Sequence[str] | None, block_s: float) -> Source:
    """Return the source for a device that has a protocol of its own."""
    kind, _, rest = uri.partition(":")
    name, _, query = rest.partition("?")
    if not name:
        raise SourceError(
            SourceFault.MALFORMED, f"{uri}: name it, such as {kind}:{_EXAMPLES[kind]}"
        )
    try:
        options = dict(parse_qsl(query, strict_parsing=bool(query)))
        if kind == "h10":
            from tocsin_agent.sources.devices.ble import PolarSource  # noqa: PLC0415 - only where it is used

            _refuse_others(options)
            return PolarSource(name, leads=leads, block_s=block_s)
        from tocsin_agent.sources.devices.lsl import LslSource  # noqa: PLC0415

        _refuse_others(options, "unit")
        return LslSource(name, unit=options.get("unit"), leads=leads, block_s=block_s)
    except ValueError as error:
        raise SourceError(SourceFault.MALFORMED, f"{uri}: {error}") from error


def wire_for(uri: str) -> Wire:
    """Return the wire for a link's name; raises as `open_link` does."""
    scheme = uri.partition(":")[0]
    if scheme not in WIRES:
        raise SourceError(SourceFault.MALFORMED, f"{uri} is no wire of the link protocol")
    parts = urlsplit(uri)
    try:
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        if scheme == "serial":
            return _serial(parts, options)
        if scheme in {"mqtt", "mqtts"}:
            return _mqtt(uri, parts, options)
        return _network(scheme, parts, options)
    except ValueError as error:
        raise SourceError(SourceFault.MALFORMED, f"{uri}: {error}") from error


def _serial(parts: SplitResult, options: dict[str, str]) -> Wire:
    from tocsin_agent.sources.devices.wires.serial import SerialWire  # noqa: PLC0415 - only where it is used

    _refuse_others(options, "baud")
    if not parts.path:
        raise ValueError("name the port, such as serial:/dev/ttyACM0")
    return SerialWire(parts.path, int(options.get("baud", "115200")))


def _network(scheme: str, parts: SplitResult, options: dict[str, str]) -> Wire:
    from tocsin_agent.sources.devices.wires.tcp import TcpWire  # noqa: PLC0415 - only where it is used
    from tocsin_agent.sources.devices.wires.udp import UdpWire  # noqa: PLC0415

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


def _mqtt(uri: str, parts: SplitResult, options: dict[str, str]) -> Wire:
    from tocsin_agent.mqtt.settings import MqttSettings  # noqa: PLC0415
    from tocsin_agent.sources.devices.wires.mqtt import MqttWire  # noqa: PLC0415 - only where it is used

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
        "username": parts.username,
        "tls": files if tls else None,
    }
    return MqttWire(msgspec.convert(settings, MqttSettings), parts.path.removeprefix("/"))


def _refuse_others(options: dict[str, str], *known: str) -> None:
    for name in options:
        if name not in known:
            right = f"known are {', '.join(known)}" if known else "none is known here"
            raise ValueError(f"option {name!r} is not understood; {right}")

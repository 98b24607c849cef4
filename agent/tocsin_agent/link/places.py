"""From the name of a live link to its source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

import msgspec

from tocsin_agent.link.wires.base import Wire
from tocsin_agent.sources.base import Source
from tocsin_dsp.errors import SourceError, SourceFault

SCHEMES = frozenset({"serial", "tcp", "tls", "udp", "mqtt", "mqtts"})
CAPTURE = ".link"
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
    from tocsin_agent.link.source import CaptureSource, LinkSource  # noqa: PLC0415 - start-up

    if uri.endswith(CAPTURE):
        return CaptureSource(Path(uri).expanduser(), leads=leads, block_s=block_s)
    return LinkSource(wire_for(uri), leads=leads, block_s=block_s)


def wire_for(uri: str) -> Wire:
    """Return the wire for a link's name; raises as `open_link` does."""
    scheme = uri.partition(":")[0]
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
    from tocsin_agent.link.wires.serial import SerialWire  # noqa: PLC0415 - only where it is used

    _refuse_others(options, "baud")
    if not parts.path:
        raise ValueError("name the port, such as serial:/dev/ttyACM0")
    return SerialWire(parts.path, int(options.get("baud", "115200")))


def _network(scheme: str, parts: SplitResult, options: dict[str, str]) -> Wire:
    from tocsin_agent.link.wires.tcp import TcpWire  # noqa: PLC0415 - only where it is used
    from tocsin_agent.link.wires.udp import UdpWire  # noqa: PLC0415

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
    from tocsin_agent.link.wires.mqtt import MqttWire  # noqa: PLC0415 - only where it is used
    from tocsin_agent.mqtt import MqttSettings  # noqa: PLC0415

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

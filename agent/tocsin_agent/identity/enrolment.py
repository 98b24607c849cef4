"""The one file from which a gateway starts, on a stick: names, broker, authority.

::

    site = "clinic-north"
    device = "bed-12"
    source = "serial:///dev/ttyUSB0"   # may be left out

    [broker]
    host = "broker.clinic.example"
    port = 8883
    ca = '''
    -----BEGIN CERTIFICATE-----
    ...'''

It holds nothing secret: the key is made on the gateway.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from tocsin_agent.errors import ConfigError
from tocsin_agent.messages.topics import LEVEL_PATTERN, Topics
from tocsin_agent.regular_file import read_regular

_MAX_BYTES = 256 * 1024


class Broker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The broker that a gateway shall use, over TLS."""

    host: Annotated[str, Meta(min_length=1, max_length=253)]
    ca: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 8883


class Enrolment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who a gateway shall be, and at which broker."""

    site: Annotated[str, Meta(pattern=LEVEL_PATTERN)]
    device: Annotated[str, Meta(pattern=LEVEL_PATTERN)]
    broker: Broker
    source: str = "synthetic"

    def __post_init__(self) -> None:
        Topics(self.site, self.device)
        for name, text in (("broker.host", self.broker.host), ("source", self.source)):
            if not text.isprintable():
                raise ValueError(f"{name} holds control characters")


def read_enrolment(path: Path) -> Enrolment:
    """Read the file of an enrolment.

    Raises
    ------
    ConfigError
        If it cannot be read or is not such a file; the text says which key.
    """
    try:
        raw = tomllib.loads(read_regular(path, _MAX_BYTES).decode("utf-8"))
        return msgspec.convert(raw, Enrolment)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no enrolment: {error}") from error


def configuration(enrolment: Enrolment, folder: Path) -> str:
    """Return a configuration, in TOML, for a gateway whose identity is in a folder."""
    return (
        f"site = {_text(enrolment.site)}\n"
        f"device = {_text(enrolment.device)}\n"
        f"\n[source]\nuri = {_text(enrolment.source)}\n"
        f"\n[mqtt]\nhost = {_text(enrolment.broker.host)}\nport = {enrolment.broker.port}\n"
        f"\n[mqtt.tls]\nca_file = {_text(str(folder / 'ca.pem'))}\n"
        f"cert_file = {_text(str(folder / 'current' / 'cert.pem'))}\n"
        f"key_file = {_text(str(folder / 'current' / 'key.pem'))}\n"
    )


def _text(value: str) -> str:
    """Return a TOML string: JSON's are valid in it."""
    return json.dumps(value, ensure_ascii=True)

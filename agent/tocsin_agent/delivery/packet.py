"""How an alert's document becomes an MQTT message that the broker accepts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from tocsin_agent.messages.additions import PROPERTY, split
from tocsin_agent.mqtt.connection import Connection

log = logging.getLogger(__name__)

OVERHEAD_BYTES = 512
"""What topic and headers may add to a payload."""


class Packet(NamedTuple):
    """A payload and its user properties; `strip` if it shows the ECG."""

    payload: bytes
    user: Mapping[str, str]
    strip: bool = False

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.payload) + sum(len(value.encode()) for value in self.user.values())


def make_packet(
    document: Mapping[str, Any],
    connection: Connection,
    *,
    slim: bool = False,
    largest: int | None = None,
) -> Packet:
    """Return the message for a document: without its strip if it would be too large with it.

    Parameters
    ----------
    document : mapping
        A decoded alert.
    connection : Connection
        Open; states how large a packet may be, and its settings where additions are sent.
    slim : bool
        Leave out the strip in any case.
    largest : int, optional
        Bytes that the broker was found to take at most.
    """
    where = connection.settings.additions
    limit = min(connection.settings.max_payload_bytes, connection.max_packet_bytes - OVERHEAD_BYTES)
    limit = limit if largest is None else min(limit, largest)
    packet = _pack(document, where)
    if packet.size <= limit and not slim:
        return packet
    log.warning("an alert of %d bytes is sent without its strip", packet.size)
    return _pack({**document, "strip": None}, where)


def _pack(document: Mapping[str, Any], additions: str) -> Packet:
    strip = document.get("strip") is not None
    if additions == "document":
        return Packet(msgspec.json.encode(document), {}, strip)
    plain, added = split(document)
    return Packet(msgspec.json.encode(plain), {PROPERTY: added} if added else {}, strip)

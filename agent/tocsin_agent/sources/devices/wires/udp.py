"""UDP: whole frames in datagrams, from one device."""

from __future__ import annotations

import logging
import math
import select
import socket
import time
from typing import Any

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.devices.protocol.frames import FrameReader
from tocsin_agent.sources.devices.wires.base import Wire
from tocsin_agent.sources.devices.wires.tcp import listening

log = logging.getLogger(__name__)

_MOST = 65_536
_SILENT_S = 2.0


class UdpWire(Wire):
    """Receives datagrams on a port, and answers the sender of the last one.

    As long as one device sends intact packets, datagrams of others are dropped.

    Parameters
    ----------
    host, port : str, int
        Where to receive; an empty host receives on every address.
    """

    ordered = False

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._socket: socket.socket | None = None
        self._peer: Any = None  # an address, as its family has it
        self._valid_s = -math.inf  # when it sent an intact packet, monotonic

    def open(self) -> None:
        """Bind the port."""
        self.close()
        self._socket = listening(self.host, self.port, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.port = self._socket.getsockname()[1]

    def read(self, timeout_s: float) -> bytes:
        """Return all datagrams that have arrived, each followed by a zero byte."""
        if self._socket is None:
            raise SourceError(SourceFault.LOST, "the link is not open")
        ready, _, _ = select.select([self._socket], [], [], timeout_s)
        out = bytearray()
        while ready and len(out) < _MOST:
            try:
                data, peer = self._socket.recvfrom(_MOST)
            except OSError:  # no more datagrams, or an answer was refused
                break
            if self._is_the_device(peer, data):
                out += data + b"\0"
        return bytes(out)

    def write(self, data: bytes) -> None:
        """Send one datagram to the device."""
        if self._socket is None or self._peer is None or not data:
            return
        try:
            self._socket.sendto(data, self._peer)
        except OSError as error:
            log.debug("no answer to %s: %s", self._peer, error)

    def close(self) -> None:
        """Close the port."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._peer = None

    def accepts(self, device: str) -> bool:  # noqa: ARG002
        """Note that the device sends."""
        self._valid_s = time.monotonic()
        return True

    def why_silent(self) -> str | None:
        """Return whether any device has sent."""
        if self._peer is None:
            return f"no packet has arrived at UDP port {self.port}"
        return f"the device at {self._peer[0]} sends nothing to UDP port {self.port}"

    def _is_the_device(self, peer: object, data: bytes) -> bool:
        if peer == self._peer:
            return True
        now_s = time.monotonic()
        alive = self._peer is not None and now_s - self._valid_s < _SILENT_S
        if alive or not FrameReader().feed(data + b"\0"):
            return False
        log.info("a device sends from %s", peer)
        self._peer, self._valid_s = peer, now_s
        return True

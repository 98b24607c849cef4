"""A serial port: UART, USB CDC, or a pseudo-terminal."""

from __future__ import annotations

import glob
import logging
import time
from types import ModuleType
from typing import TYPE_CHECKING

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.extras import import_extra
from tocsin_agent.sources.devices.wires.base import Wire

if TYPE_CHECKING:
    import serial

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.2
_MOST = 65_536


class SerialWire(Wire):
    """A port by its path, such as `/dev/serial/by-id/usb-ACME_Holter_17-if00`.

    A port that does not exist, or was unplugged, is waited for. The path may be a pattern with `*`
    that matches at most one port at a time.

    Parameters
    ----------
    path : str
        Device file.
    baud : int
        Bits per second; a USB CDC port ignores it.
    """

    def __init__(self, path: str, baud: int = 115_200) -> None:
        self.path, self.baud = path, baud
        self._port: serial.Serial | None = None
        self._look_s = 0.0

    def open(self) -> None:
        """Open the port, or start to wait for it."""
        _import()
        self.close()
        self._attach()

    def read(self, timeout_s: float) -> bytes:
        """Return the bytes that arrived; waits for the port too if it does not exist."""
        port = self._port
        if port is None:
            time.sleep(min(timeout_s, _LOOK_EVERY_S))
            if time.monotonic() >= self._look_s:
                self._attach()
            return b""
        try:
            port.timeout = timeout_s
            first = bytes(port.read(1))
            return first + bytes(port.read(min(port.in_waiting, _MOST))) if first else b""
        except (OSError, TypeError) as error:  # TypeError: pyserial, unplugged between two calls
            self.close()
            raise SourceError(SourceFault.LOST, f"{self.path} is gone: {error}") from error

    def write(self, data: bytes) -> None:
        """Send as much as the port accepts at once."""
        if self._port is None or not data:
            return
        try:
            self._port.write(data)
        except OSError as error:
            log.debug("%s accepts nothing: %s", self.path, error)

    def close(self) -> None:
        """Close the port."""
        port, self._port = self._port, None
        if port is not None:
            port.close()

    def _attach(self) -> None:
        self._look_s = time.monotonic() + _LOOK_EVERY_S
        found = sorted(glob.glob(self.path))  # noqa: PTH207 - a pattern, and an absolute one
        if not found:
            return
        if len(found) > 1:
            raise SourceError(
                SourceFault.MALFORMED, f"{self.path} matches {', '.join(found)}: name one of them"
            )
        serial = _import()
        try:
            self._port = serial.Serial(
                found[0], self.baud, timeout=0.1, write_timeout=0, exclusive=True
            )
        except (OSError, ValueError) as error:
            reason = SourceFault.UNREACHABLE
            advice = "is another program using it?"
            if "Permission" in str(error):
                reason, advice = SourceFault.NOT_FOUND, "add the user to the group of the device"
            if not glob.glob(self.path):  # noqa: PTH207 - unplugged while it was opened
                return
            raise SourceError(reason, f"{found[0]} cannot be opened: {error}; {advice}") from error
        log.info("%s is open at %d baud", found[0], self.baud)


def _import() -> ModuleType:
    return import_extra("serial", "serial", "a serial port")

"""A serial port: UART, USB CDC, or a pseudo-terminal."""

from __future__ import annotations

import errno
import glob
import logging
import os
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.extras import import_extra
from tocsin_agent.sources.devices.wires.base import Wire

if TYPE_CHECKING:
    import serial

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.2
_MOST = 65_536
_ON_TRIAL_S = 5.0  # a port that a lost device may have come back at is left without packets
_SETTLES_S = 1.0  # a port that was just opened is not called silent
_HOLDERS = 3  # programs named as holding a port


class SerialWire(Wire):
    """A port by its path, such as `/dev/serial/by-id/usb-ACME_Holter_17-if00`.

    A port that does not exist, or was unplugged, is waited for. The path may be a pattern with `*`.
    It must match one port at first; after that the same device is taken again: the one with the
    USB serial number of the first, or, where it has none, the one at the path of the first. Such a
    device may come back at another path; another port is then tried, and left if no packets of the
    device arrive.

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
        self._known: Known | None = None  # the device that sent packets
        self._tried: dict[str, float] = {}  # ports without packets of it, and when they were left
        self._opened = ("", 0.0)  # path and time of what is open

    @property
    def hint(self) -> str:
        """What to check where bytes arrive that are no packets."""
        return f"check the baud rate, which is set to {self.baud} (serial:PATH?baud=RATE)"

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
        self._leave_stranger()
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

    def accepts(self, device: str) -> bool:
        """Remember the port that the device sends on; refuse another device at another port."""
        known, path = self._known, self._opened[0]
        if known is None:
            self._known = Known(path, usb_number(path), device)
        elif path == known.path:
            self._known = known._replace(device=device or known.device)
        elif device and known.device in {"", device}:
            log.info("%s has come back at %s", device, path)
            self._known = Known(path, usb_number(path), device)
        elif device:
            self._tried[path] = time.monotonic()
            return False
        else:
            return True
        self._tried.pop(path, None)
        return True

    def why_silent(self) -> str | None:
        """Return whether the port is there and open."""
        if self._port is not None:
            if time.monotonic() - self._opened[1] < _SETTLES_S:
                return None
            if self._known is not None and self._opened[0] != self._known.path:
                return f"{self._known.path} is not there; {self._opened[0]} is tried instead"
            return (
                f"{self._opened[0]} is open, but no packet arrives: check the device and its cable"
            )
        if self._known is not None and self._known.number:
            return f"{self.path} with the USB serial number {self._known.number} is not there"
        return f"{self.path} is not there"

    def _attach(self) -> None:
        self._look_s = time.monotonic() + _LOOK_EVERY_S
        found = sorted(glob.glob(self.path))  # noqa: PTH207 - a pattern, and an absolute one
        path = self._chosen(found)
        if path is None:
            return
        serial = _import()
        try:
            self._port = serial.Serial(
                path, self.baud, timeout=0.1, write_timeout=0, exclusive=True
            )
        except (OSError, ValueError) as error:
            if not glob.glob(self.path):  # noqa: PTH207 - unplugged while it was opened
                return
            raise why_not_opened(path, error) from error
        self._opened = (path, time.monotonic())
        if self._known is not None and self._known.number:
            self._known = self._known._replace(path=path)
        log.info("%s is open at %d baud", path, self.baud)

    def _chosen(self, found: list[str]) -> str | None:
        """Return the port to open, None where the device is not there.

        Raises
        ------
        SourceError
            `AMBIGUOUS` if several ports could be that of the device.
        """
        known = self._known
        if known is not None and known.number:
            found = [path for path in found if usb_number(path) == known.number]
        elif known is not None and len(found) > 1:
            found = [path for path in found if path == known.path] or found
        if known is not None:
            recently_s = time.monotonic() - 6 * _ON_TRIAL_S
            found = [path for path in found if self._tried.get(path, -1.0) < recently_s]
        if len(found) > 1:
            raise SourceError(
                SourceFault.AMBIGUOUS,
                f"{self.path} matches {', '.join(found)}: name one of them, best by its path in "
                "/dev/serial/by-id",
            )
        return found[0] if found else None

    def _leave_stranger(self) -> None:
        """Leave a port that is not that of the device, if that is back or no packets arrive."""
        known, (path, since_s) = self._known, self._opened
        if known is None or path == known.path:
            return
        now_s = time.monotonic()
        if os.path.exists(known.path) or now_s - since_s > _ON_TRIAL_S:  # noqa: PTH110
            self._tried[path] = now_s
            self.close()
            raise SourceError(
                SourceFault.LOST, f"{path} is not the device that was at {known.path}"
            )


class Known(NamedTuple):
    """A device that sent packets: its port, its USB serial number, and its name in the hello."""

    path: str
    number: str | None
    device: str


def usb_number(path: str) -> str | None:
    """Return the USB serial number of the device behind a port; None where it has none."""
    ports = import_extra("serial.tools.list_ports", "serial", "a serial port")
    real = os.path.realpath(path)
    for port in ports.comports():
        if port.device == real:
            return (
                f"{port.vid:04x}:{port.pid:04x}:{port.serial_number}"
                if port.serial_number
                else None
            )
    return None


def why_not_opened(path: str, error: OSError | ValueError) -> SourceError:
    """Return why a port that is there could not be opened, and what to do."""
    code = getattr(error, "errno", None)
    if code in {errno.EACCES, errno.EPERM} or "ermission" in str(error):
        return SourceError(SourceFault.NO_PERMISSION, _without_permission(path))
    if code in {errno.EBUSY, errno.EAGAIN} or "exclusively lock" in str(error):
        by = ", ".join(_holders(path)) or (
            "another program (ModemManager, gpsd and brltty hold a new port for some seconds)"
        )
        return SourceError(SourceFault.BUSY, f"{path} is in use by {by}")
    return SourceError(SourceFault.UNREACHABLE, f"{path} cannot be opened: {error}")


def _without_permission(path: str) -> str:
    try:
        status = Path(path).stat()
        group = Path(path).group()
    except (OSError, KeyError):
        return f"no permission to open {path}"
    if status.st_mode & 0o060 != 0o060 or status.st_gid == 0:
        return (
            f"no permission to open {path}: it belongs to the group {group}, which may not open it "
            "either; udev gives a new port its group after a moment, else a udev rule is missing"
        )
    return (
        f"no permission to open {path}: it belongs to the group {group}; add this user to it "
        f"(usermod -aG {group} USER, in a systemd unit SupplementaryGroups={group})"
    )


def _holders(path: str) -> list[str]:
    """Return the programs that have this file open, as far as this user may see them."""
    real, own = os.path.realpath(path), os.getpid()
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == own or len(found) >= _HOLDERS:
            continue
        try:
            if any(os.path.realpath(file) == real for file in (process / "fd").iterdir()):
                found.append(f"{(process / 'comm').read_text().strip()} (process {process.name})")
        except OSError:  # of another user, or ended
            continue
    return found


def _import() -> ModuleType:
    return import_extra("serial", "serial", "a serial port")

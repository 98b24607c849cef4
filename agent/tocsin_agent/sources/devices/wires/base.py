"""The interface of every wire: bytes in, bytes out, without their meaning."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Wire(ABC):
    """Carries bytes between one device and this gateway; used by one thread at a time.

    Attributes
    ----------
    ordered : bool
        False if packets may overtake one another.
    """

    ordered: bool = True

    @abstractmethod
    def open(self) -> None:
        """Make ready for a device, whether or not it is there.

        Raises
        ------
        SourceError
            `UNREACHABLE` if another attempt may help; any other reason if not.
        """

    @abstractmethod
    def read(self, timeout_s: float) -> bytes:
        """Return the bytes that arrived, or none within `timeout_s`.

        A zero byte precedes the first bytes of a new connection.

        Raises
        ------
        SourceError
            `LOST` if the wire must be opened again.
        """

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send to the device, if one is connected; never wait for it."""

    @abstractmethod
    def close(self) -> None:
        """Release the wire; harmless when called twice."""

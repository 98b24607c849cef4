"""What every wire is: bytes in, bytes out, nothing of what they mean."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Wire(ABC):
    """Carries bytes between one device and this gateway; used by one thread at a time.

    Attributes
    ----------
    ordered : bool
        False where packets may overtake one another.
    """

    ordered: bool = True

    @abstractmethod
    def open(self) -> None:
        """Be ready for a device; it need not be there yet.

        Raises
        ------
        SourceError
            `UNREACHABLE` where trying again may help, another reason where it does not.
        """

    @abstractmethod
    def read(self, timeout_s: float) -> bytes:
        """Return what arrived, or nothing within `timeout_s`.

        A zero byte stands before what a device sends on a new connection.

        Raises
        ------
        SourceError
            `LOST` where the wire must be opened again.
        """

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send to the device, if there is one; never wait for it."""

    @abstractmethod
    def close(self) -> None:
        """Let go; harmless when called twice."""

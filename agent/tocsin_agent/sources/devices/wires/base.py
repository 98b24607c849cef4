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
            With the reason in the words of `source_lost`; whoever reads opens it again.
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

    def accepts(self, device: str) -> bool:  # noqa: ARG002
        """Note that an intact packet arrived; return False if it is not of the device wanted.

        Parameters
        ----------
        device : str
            Its name in the hello; empty before the first hello of this connection.
        """
        return True

    def why_silent(self) -> str | None:
        """Return why no bytes arrive, in the words of `source_lost`; None if that is unknown."""
        return None

    @property
    def hint(self) -> str:
        """What to check where bytes arrive that are no packets."""
        return "check that this is a device which speaks the link protocol"

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send to the device, if one is connected; never wait for it."""

    @abstractmethod
    def close(self) -> None:
        """Release the wire; harmless when called twice."""

"""Frames: COBS and CRC-32C around the body of a packet (PROTOCOL.md, section 1)."""

from __future__ import annotations

from tocsin_agent.errors import MissingExtraError

try:
    import google_crc32c
    from cobs import cobs
except ImportError as error:
    raise MissingExtraError(
        "link",
        f"the link protocol needs optional packages: pip install 'tocsin[link]' ({error})",
    ) from error

MAX_PACKET = 640  # with its CRC
MAX_FRAME = 644  # with the zero byte at its end
_CRC = 4
_MIN_PACKET = 1 + _CRC


def frame(body: bytes) -> bytes:
    """Return a packet as it is sent: body and CRC, stuffed, then a zero byte."""
    return bytes(cobs.encode(body + _crc(body))) + b"\0"


class FrameReader:
    """Takes bytes as they arrive, cut anywhere, and gives the bodies of intact packets.

    Holds at most one frame that has not ended.

    Attributes
    ----------
    frames, corrupt : int
        Frames received, without empty ones; those of them that were dropped.
    bytes_read : int
        All bytes.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.corrupt = 0
        self.bytes_read = 0
        self._tail = b""
        self._skipping = False  # until the end of a frame that is too long

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; return the bodies of the packets that are complete and intact."""
        self.bytes_read += len(data)
        *frames, self._tail = (self._tail + data).split(b"\0")
        if frames and self._skipping:
            del frames[0]
            self._skipping = False
        if len(self._tail) > MAX_FRAME:
            if not self._skipping:
                self.frames, self.corrupt = self.frames + 1, self.corrupt + 1
            self._tail, self._skipping = b"", True
        bodies = []
        for stuffed in frames:
            if not stuffed:
                continue
            self.frames += 1
            body = _body(stuffed)
            if body is None:
                self.corrupt += 1
            else:
                bodies.append(body)
        return bodies

    def reset(self) -> None:
        """Drop the frame that has begun: the link was opened again."""
        self._tail, self._skipping = b"", False


def _body(stuffed: bytes) -> bytes | None:
    """Return what a frame without its zero byte carries, or None if it is corrupt."""
    if not _MIN_PACKET < len(stuffed) < MAX_FRAME:
        return None
    try:
        packet = cobs.decode(stuffed)
    except cobs.DecodeError:
        return None
    if not _MIN_PACKET <= len(packet) <= MAX_PACKET:
        return None
    body = bytes(packet[:-_CRC])
    return body if packet[-_CRC:] == _crc(body) else None


def _crc(body: bytes) -> bytes:
    """Return the CRC-32C (Castagnoli; RFC 3720) of a body as it is sent."""
    crc: int = google_crc32c.value(body)
    return crc.to_bytes(_CRC, "little")

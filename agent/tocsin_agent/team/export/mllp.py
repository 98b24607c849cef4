"""One receiver of HL7 v2 messages over MLLP: sends a message, waits for its acknowledgement.

Source: HL7 v2 MLLP release 1; acknowledgements of HL7 v2.6 chapter 2.9. Needs the extra `hl7`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from types import ModuleType
from typing import Self

from tocsin_agent.errors import ExportError, ExportFault
from tocsin_agent.extras import import_extra
from tocsin_agent.messages.printable import clean
from tocsin_agent.team.export.hl7v2 import control_id
from tocsin_agent.team.export.transport import Security, split_url

_BEGIN, _END = b"\x0b", b"\x1c\r"
_MOST_ANSWER = 1 << 16
_TAKEN, _BAD = {"AA", "CA"}, {"AE", "CE"}
_NOT_NOW = {"AR", "CR"}


class _ClosedError(OSError):
    """The receiver closed the connection before it answered."""


class MllpClient:
    """A connection that is kept, used by one thread; a context manager.

    Parameters
    ----------
    url : str
        `mllps://HOST:PORT`, or `mllp://HOST:PORT` without TLS.
    security : Security
    timeout_s : float
        Longest wait for a connection or an acknowledgement.

    Raises
    ------
    ValueError
        If the URL is not one, or is plain and leads to another machine.
    MissingExtraError
        Without the extra.
    """

    def __init__(self, url: str, security: Security, *, timeout_s: float = 10.0) -> None:
        self._hl7: ModuleType = import_extra("hl7", "hl7", "MLLP")
        expected = "mllps://HOST:PORT of a receiver expected"
        full = url if "://" in url else f"mllps://{url}"
        parts = split_url(full, {"mllp", "mllps"}, expected)
        host, port = str(parts.hostname), parts.port
        if port is None:
            raise ValueError(f"{url!r} names no port: {expected}")
        if parts.scheme == "mllp":
            security.check_plain(host)
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self.where = f"{parts.scheme}://{parts.netloc}"
        self._context = security.context() if parts.scheme == "mllps" else None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next message opens one."""
        connection, self._socket = self._socket, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def send(self, message: str) -> None:
        """Send a message; on return the receiver has it.

        A message that is not acknowledged in time is not known to have arrived: sent again, it has
        the same control id, by which the receiver knows it.

        Raises
        ------
        ExportError
            `REFUSED` if the receiver calls this message wrong (AE, CE); else send it again.
        """
        try:
            answer = self._exchange(message)
        except ssl.SSLCertVerificationError as exc:
            self.close()
            raise ExportError(
                ExportFault.UNREACHABLE,
                f"{self.where} has a certificate that is not trusted ({exc.verify_message})",
            ) from exc
        except OSError as exc:
            self.close()
            what = (
                "does not answer in time" if isinstance(exc, TimeoutError) else clean(str(exc), 200)
            )
            raise ExportError(ExportFault.UNREACHABLE, f"{self.where}: {what}") from exc
        try:
            self._check(answer, control_id(message))
        except ExportError as exc:
            if exc.reason is ExportFault.UNREADABLE:
                self.close()  # what else it sends belongs to nothing that is waited for
            raise

    def _exchange(self, message: str) -> bytes:
        kept = self._socket is not None
        try:
            return self._try(message)
        except (_ClosedError, ConnectionError):
            if not kept:
                raise
            self.close()  # a receiver may close a connection that was idle
            return self._try(message)

    def _try(self, message: str) -> bytes:
        connection = self._socket = self._socket or self._connect()
        connection.sendall(_BEGIN + message.encode() + _END)
        received, deadline_s = bytearray(), time.monotonic() + self._timeout_s
        while not received.endswith(_END):
            part = connection.recv(4096)
            if not part:
                raise _ClosedError("it closed the connection without an acknowledgement")
            received += part
            if time.monotonic() > deadline_s:
                raise TimeoutError
            if len(received) > _MOST_ANSWER:
                raise OSError("it sends more than an acknowledgement")
        return bytes(received)

    def _connect(self) -> socket.socket:
        plain = socket.create_connection((self._host, self._port), self._timeout_s)
        if self._context is None:
            return plain
        try:
            return self._context.wrap_socket(plain, server_hostname=self._host)
        except OSError:
            plain.close()
            raise

    def _check(self, answer: bytes, sent_id: str) -> None:
        text = answer.strip(b"\x0b\x1c\r\n").decode("utf-8", "replace")
        try:
            parsed = self._hl7.parse(text)
            state = parsed.segment("MSA")
            code, answered_id = str(state[1]), str(state[2])
            said = "; ".join(
                str(part) for part in [*state[3:4], *_errors(parsed)] if str(part).strip()
            )
        except Exception as exc:
            raise ExportError(
                ExportFault.UNREADABLE,
                f"{self.where} does not answer with an acknowledgement: {clean(text, 100)!r}",
            ) from exc
        if answered_id != sent_id:
            raise ExportError(
                ExportFault.UNREADABLE,
                f"{self.where} acknowledges {clean(answered_id, 40)!r}, {sent_id} was sent",
            )
        if code in _TAKEN:
            return
        words = f"{self.where} answers {clean(code, 8)}: {clean(said, 300) or 'no reason'}"
        if code in _BAD:
            raise ExportError(ExportFault.REFUSED, words)
        reason = ExportFault.UNREACHABLE if code in _NOT_NOW else ExportFault.UNREADABLE
        raise ExportError(reason, words)


def _errors(parsed: object) -> list[str]:
    """Return the segments ERR as text."""
    try:
        return [str(segment) for segment in parsed.segments("ERR")]  # type: ignore[attr-defined]
    except KeyError:
        return []

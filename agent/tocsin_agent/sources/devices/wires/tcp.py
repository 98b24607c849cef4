"""TCP and TLS: the gateway listens, the device connects."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import ssl
import time
from pathlib import Path

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.devices.wires.base import Wire

log = logging.getLogger(__name__)

_MOST = 65_536
_HANDSHAKE_S = 3.0
_SILENT_S = 2.0  # a device that sent something since then is not replaced by another


class TcpWire(Wire):
    """Listens on a port for one device at a time.

    After a connection breaks, the next one is awaited. A connection that arrives while the present
    one is silent replaces it: a device that lost its network connects again long before the old
    connection times out.

    Parameters
    ----------
    host, port : str, int
        Where to listen; an empty host listens on every address.
    certificate, key, authority : Path, optional
        PEM files. With a certificate the link is TLS 1.2 or later; with an authority, devices must
        show a certificate that it signed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        authority: Path | None = None,
    ) -> None:
        self.host, self.port = host, port
        self._files = (certificate, key, authority)
        self._tls: ssl.SSLContext | None = None
        self._listener: socket.socket | None = None
        self._device: socket.socket | None = None
        self._received_s = 0.0

    def open(self) -> None:
        """Listen."""
        self.close()
        self._tls = self._context()
        self._listener = listening(self.host, self.port, socket.SOCK_STREAM)
        self.port = self._listener.getsockname()[1]

    def read(self, timeout_s: float) -> bytes:
        """Return what the device sent, or nothing; a zero byte begins a new connection."""
        listener = self._listener
        if listener is None:
            raise SourceError(SourceFault.LOST, "the link is not open")
        device = self._device
        if isinstance(device, ssl.SSLSocket) and device.pending():
            timeout_s = 0.0
        watched = [listener] if device is None else [listener, device]
        ready, _, _ = select.select(watched, [], [], timeout_s)
        if listener in ready:
            return self._accept(listener)
        if device is None or not (ready or isinstance(device, ssl.SSLSocket)):
            return b""
        try:
            data = device.recv(_MOST)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        except OSError as error:
            self._drop(str(error))
            return b""
        if not data:
            self._drop("closed by the device")
        self._received_s = time.monotonic()
        return data

    def write(self, data: bytes) -> None:
        """Send what the connection accepts at once; a device that does not read is dropped."""
        if self._device is None or not data:
            return
        try:
            sent = self._device.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self._drop(str(error))
            return
        if sent < len(data):
            self._drop("it does not read what is sent to it")

    def close(self) -> None:
        """Close the connection and the port."""
        for each in (self._device, self._listener):
            if each is not None:
                each.close()
        self._device = self._listener = None

    def _accept(self, listener: socket.socket) -> bytes:
        try:
            device, where = listener.accept()
        except OSError:
            return b""
        if self._device is not None and time.monotonic() - self._received_s < _SILENT_S:
            log.warning("a second device at %s was refused: one device a port", where)
            device.close()
            return b""
        if self._tls is not None:
            device.settimeout(_HANDSHAKE_S)
            try:
                device = self._tls.wrap_socket(device, server_side=True)
            except OSError as error:
                log.warning("no TLS with %s: %s", where, error)
                device.close()
                return b""
        device.setblocking(False)
        with contextlib.suppress(OSError):
            device.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            device.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._device is not None:
            self._drop("it was silent, and another device connected")
        log.info("a device connected from %s", where)
        self._device, self._received_s = device, time.monotonic()
        return b"\0"

    def _drop(self, why: str) -> None:
        if self._device is not None:
            log.warning("the device's connection ended: %s", why)
            self._device.close()
            self._device = None

    def _context(self) -> ssl.SSLContext | None:
        certificate, key, authority = self._files
        if certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(certificate, key)
            if authority is not None:
                context.load_verify_locations(authority)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise SourceError(
                SourceFault.NOT_FOUND, f"the TLS files of the link cannot be used: {error}"
            ) from error
        return context


def listening(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """Return a socket bound to this address; it listens if it is a stream socket."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=kind, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind)
    except OSError as error:
        raise SourceError(
            SourceFault.NOT_FOUND, f"{host!r} is not an address of this machine: {error}"
        ) from error
    try:
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        if kind == socket.SOCK_STREAM:
            made.listen(4)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise SourceError(
            SourceFault.UNREACHABLE, f"cannot listen on {host}:{port}: {error.strerror}"
        ) from error
    return made

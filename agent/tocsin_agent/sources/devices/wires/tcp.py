"""TCP and TLS: the gateway listens, the device connects."""

from __future__ import annotations

import errno
import logging
import select
import socket
import ssl
import time
from pathlib import Path

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.devices.protocol.frames import FrameReader
from tocsin_agent.sources.devices.wires.base import Wire

log = logging.getLogger(__name__)

_MOST = 65_536
_HANDSHAKE_S = 3.0
_SILENT_S = 2.0  # a device that sent a packet since then is not replaced by another
_WAIT_S = 10.0  # a connection that waits so long beside a device that sends is closed
_MOST_WAITING = 4
_NONE_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NONE_LEFT_S = 0.05

_LISTEN_FAULTS = {errno.EADDRINUSE: SourceFault.BUSY, errno.EACCES: SourceFault.NO_PERMISSION}


class TcpWire(Wire):
    """Listens on a port for one device at a time.

    After a connection breaks, the next one is awaited. Only intact packets count as a sign of life:
    a connection that arrives while the present one sends none replaces it, as soon as it has sent
    one itself, at the latest when the present one has sent none for two seconds. So a device that
    lost its network is back long before its old connection times out, and a stranger that connects
    first, or keeps connecting, does not keep the device out.

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
        self._where = ""  # the address of the device
        self._valid_s: float | None = None  # when it sent an intact packet, monotonic
        self._since_s = 0.0  # when it connected
        self._waiting: list[_Waiting] = []  # connected while another was

    def open(self) -> None:
        """Listen."""
        self.close()
        self._tls = self._context()
        self._listener = listening(self.host, self.port, socket.SOCK_STREAM)
        self.port = self._listener.getsockname()[1]

    def accepts(self, device: str) -> bool:  # noqa: ARG002
        """Note that what is connected is a device."""
        self._valid_s = time.monotonic()
        return True

    def why_silent(self) -> str | None:
        """Return whether a device is connected."""
        if self._device is None:
            return f"no device is connected to port {self.port}"
        if self._valid_s is None:
            return f"{self._where} is connected to port {self.port}, but has sent no packet"
        return f"the device at {self._where} is connected, but sends no packets"

    def read(self, timeout_s: float) -> bytes:
        """Return what the device sent, or nothing; a zero byte begins a new connection."""
        listener = self._listener
        if listener is None:
            raise SourceError(SourceFault.LOST, "the link is not open")
        device = self._device
        if isinstance(device, ssl.SSLSocket) and device.pending():
            timeout_s = 0.0
        watched = [listener, *(each.socket for each in self._waiting)]
        if device is not None:
            watched.append(device)
        ready, _, _ = select.select(watched, [], [], timeout_s)
        if listener in ready:
            self._accept(listener)
        if self._waiting and (begin := self._next_device()):
            return begin
        if device is None or not (device in ready or isinstance(device, ssl.SSLSocket)):
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
        """Close the connections and the port."""
        for each in (self._device, self._listener, *(w.socket for w in self._waiting)):
            if each is not None:
                each.close()
        self._device = self._listener = None
        self._waiting.clear()

    def _accept(self, listener: socket.socket) -> None:
        """Let a connection wait until it is clear whether it is the device."""
        try:
            device, where = listener.accept()
            device.setblocking(False)
            device.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            device.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls is not None:
                device = self._tls.wrap_socket(
                    device, server_side=True, do_handshake_on_connect=False
                )
        except OSError as error:
            if error.errno in _NONE_LEFT:  # the connection stays in the queue: not at once again
                time.sleep(_NONE_LEFT_S)
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.pop(0).socket.close()
        self._waiting.append(_Waiting(device, f"{where[0]}:{where[1]}"))

    def _next_device(self) -> bytes:
        """Return what the connection that takes over has sent, after a zero byte; else nothing."""
        now_s = time.monotonic()
        last_s = self._since_s if self._valid_s is None else self._valid_s
        silent = self._device is None or now_s - last_s >= _SILENT_S
        for each in list(self._waiting):
            if not each.is_open():
                self._waiting.remove(each)
                each.socket.close()
            elif each.is_ready and (silent or (self._valid_s is None and each.has_packet)):
                return self._take(each, now_s)
            elif each.has_packet or now_s - each.since_s > _WAIT_S:
                log.warning("a second device at %s was refused: one device a port", each.where)
                self._waiting.remove(each)
                each.socket.close()
        return b""

    def _take(self, each: _Waiting, now_s: float) -> bytes:
        self._waiting.remove(each)
        if self._device is not None:
            self._drop("it sent no packets, and another device connected")
        log.info("a device connected from %s", each.where)
        self._device, self._where = each.socket, each.where
        self._valid_s, self._since_s = None, now_s
        return b"\0" + bytes(each.received)

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
                SourceFault.CERTIFICATE, f"the TLS files of the link cannot be used: {error}"
            ) from error
        return context


class _Waiting:
    """A connection beside that of the device: what it sent, and whether that is a packet."""

    def __init__(self, connection: socket.socket, where: str) -> None:
        self.socket, self.where = connection, where
        self.since_s = time.monotonic()
        self.received = bytearray()
        self.has_packet = False
        self.is_ready = not isinstance(connection, ssl.SSLSocket)  # its handshake is over
        self._frames = FrameReader()

    def is_open(self) -> bool:
        """Take what has arrived; False if the connection is over."""
        try:
            if not self.is_ready and isinstance(self.socket, ssl.SSLSocket):
                self.socket.do_handshake()
                self.is_ready = True
            data = self.socket.recv(_MOST)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return self.is_ready or time.monotonic() - self.since_s < _HANDSHAKE_S
        except OSError as error:
            if not self.is_ready:
                log.warning("no TLS with %s: %s", self.where, error)
            return False
        self.received += data
        self.has_packet = self.has_packet or bool(self._frames.feed(data))
        return bool(data) and len(self.received) <= _MOST


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
            _LISTEN_FAULTS.get(error.errno or 0, SourceFault.UNREACHABLE),
            f"cannot listen on {host}:{port}: {error.strerror}",
        ) from error
    return made

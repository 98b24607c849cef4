"""A proxy that logs people in, as one for OIDC does: it states user and groups in headers."""

from __future__ import annotations

import asyncio

from chaos.proxy import Proxy

_AWAY = (
    b"HTTP/1.1 302 Found\r\nLocation: http://login.invalid/\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


class LoginProxy(Proxy):
    """Sends who is not logged in to another page; what is open stays open, as with real ones.

    Attributes
    ----------
    user, groups : str
        Who is logged in; nobody if `user` is empty.
    """

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port, 1)
        self.user, self.groups = "", ""

    async def _join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opening: bytes = b""
    ) -> None:
        try:
            head = opening + await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        if not self.user:
            writer.write(_AWAY)
            await writer.drain()
            return
        lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        if b"upgrade: websocket" not in head.lower():  # one request a connection: each is judged
            lines = [line for line in lines if not line.lower().startswith(b"connection:")]
            lines.append(b"Connection: close")
        lines += [
            f"X-Forwarded-User: {self.user}".encode(),
            f"X-Forwarded-Groups: {self.groups}".encode(),
        ]
        await super()._join(reader, writer, b"\r\n".join(lines) + b"\r\n\r\n")

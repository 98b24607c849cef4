"""A service manager that listens on NOTIFY_SOCKET."""

from __future__ import annotations

import socket
from typing import Self


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        self._socket.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": name}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def received(self) -> list[str]:
        found = list[str]()
        while True:
            try:
                found += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return found

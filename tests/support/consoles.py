"""A console on the loopback, and a page of it without a browser: HTTP, cookie, WebSocket."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import websockets.sync.client
from websockets.exceptions import ConnectionClosed

from support.brokers import until
from support.programs import PATIENCE_S
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.team.console.app import COOKIE, CSRF_HEADER, Console
from tocsin_agent.team.console.people import User, hash_password, write_people
from tocsin_agent.team.console.serve import Server
from tocsin_agent.team.console.settings import (
    ConsoleSettings,
    HistorySettings,
    ListenSettings,
    PeopleSettings,
)

PASSWORD = "correct horse battery"  # noqa: S105 - of tests
ROLES = ("viewer", "responder", "cardiologist", "admin")
_HASH: list[str] = []


def settings_of(folder: Path, mqtt: MqttSettings, port: int = 0, **more: object) -> ConsoleSettings:
    """Give settings with a user for each role, whose name is the role's."""
    file = folder / "people.toml"
    if not file.exists():
        if not _HASH:
            _HASH.append(hash_password(PASSWORD))
        users = {
            role: msgspec.convert({"role": role, "password": _HASH[0]}, User) for role in ROLES
        }
        write_people(file, users)
    fields: dict[str, Any] = {
        "mqtt": mqtt,
        "listen": ListenSettings(port=port),
        "people": PeopleSettings(file=str(file)),
        "history": HistorySettings(file=str(folder / "console.db")),
    }
    return ConsoleSettings(**(fields | more))


class Running(NamedTuple):
    """A console that serves in a thread."""

    console: Console
    url: str
    port: int


@contextmanager
def serving(settings: ConsoleSettings) -> Iterator[Running]:
    """Serve a console while the block runs; it is subscribed at its broker, which must run."""
    console = Console(settings)
    server = Server(console)
    thread: threading.Thread = server.in_thread()
    try:
        until(lambda: console.hub.picture.connected, what="the console is subscribed")
        yield Running(console, server.url, int(server.url.rsplit(":", 1)[1].rstrip("/")))
    finally:
        server.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the console did not end"


class Answer(NamedTuple):
    """What the server answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401
        """The body, decoded."""
        return msgspec.json.decode(self.body)


class Page:
    """One page: keeps cookie and CSRF token as a browser does."""

    def __init__(self, port: int) -> None:
        self.port, self.cookie, self.csrf = port, "", ""

    def fetch(
        self,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        method: str | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """Fetch a path: GET, or POST where there is a body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        sent = {"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}
        content = raw if raw is not None else None
        if body is not None or raw is not None:
            content = raw if raw is not None else msgspec.json.encode(body)
            sent |= {"Content-Type": "application/json", CSRF_HEADER: self.csrf}
            sent["Origin"] = f"http://127.0.0.1:{self.port}"
        sent |= headers or {}
        try:
            connection.request(
                method or ("GET" if content is None else "POST"), path, content, sent
            )
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def login(self, user: str, password: str = PASSWORD, language: str = "") -> Answer:
        """Log in, and keep the cookie."""
        answer = self.fetch(
            "/api/login", {"user": user, "password": password, "language": language}
        )
        if answer.status == 200:
            self.cookie = answer.headers["Set-Cookie"].split(";")[0].split("=", 1)[1]
            self.csrf = answer.json["csrf"]
        return answer

    def socket(self, path: str = "/ws", **headers: str) -> Socket:
        """Open the WebSocket."""
        return Socket(self.port, self.cookie, path, headers)


class Socket:
    """A WebSocket that keeps what arrives; a context manager."""

    def __init__(self, port: int, cookie: str, path: str, headers: dict[str, str]) -> None:
        sent = {"Cookie": f"{COOKIE}={cookie}"} if cookie else {}
        self._connect = websockets.sync.client.connect(
            f"ws://127.0.0.1:{port}{path}",
            additional_headers=sent | headers,
            origin=None if "Origin" in headers else f"http://127.0.0.1:{port}",  # type: ignore[arg-type]
            open_timeout=PATIENCE_S,
            max_size=None,
            compression=None,
        )
        self.seen: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._socket = self._connect.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, message: object) -> None:
        """Send a message."""
        self._socket.send(msgspec.json.encode(message).decode())

    def until(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the next message for which `wanted` is true."""
        deadline = PATIENCE_S
        while True:
            message = msgspec.json.decode(self._socket.recv(timeout=deadline))
            self.seen.append(message)
            if wanted(message):
                return dict(message)

    def of(self, kind: str) -> dict[str, Any]:
        """Return the next message of a type."""
        return self.until(lambda message: message["type"] == kind)

    def closed(self) -> int:
        """Wait until the server closes, and return its code."""
        try:
            while True:
                self.seen.append(msgspec.json.decode(self._socket.recv(timeout=PATIENCE_S)))
        except ConnectionClosed as exc:
            return exc.rcvd.code if exc.rcvd else 1006

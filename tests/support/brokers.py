"""A real mosquitto on the loopback, and a subscriber that records every message."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Self

import msgspec
import pytest

from support.programs import PATIENCE_S
from tocsin_agent.errors import DeliveryError
from tocsin_agent.messages.additions import PROPERTY, decode_with_additions
from tocsin_agent.messages.alert import Alert
from tocsin_agent.messages.topics import Branch, parse
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.events import Message
from tocsin_agent.mqtt.settings import MqttSettings

_PORTS: list[Iterator[int]] = []
_FIRST_PORT, _BLOCK, _BLOCKS = 20_000, 100, 120


def free_port() -> int:
    """Return a port that nobody has, and that nobody gets before the test opens it.

    It is below those that the system gives to whoever asks for any, which another test may do
    between this choice and a broker that starts, or starts again. Each process has its own block.
    """
    if not _PORTS:
        _PORTS.append(cycle(_own_block()))
    return next(port for port in _PORTS[0] if _is_free(port))


def _own_block() -> range:
    for number in range(_BLOCKS):
        # Locked until this process ends.
        file = Path(tempfile.gettempdir()) / f"tocsin-test-ports-{number}"
        lock = os.open(file, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
        else:
            first = _FIRST_PORT + number * _BLOCK
            return range(first, first + _BLOCK)
    pytest.fail(f"{_BLOCKS} processes test here")


def _is_free(port: int) -> bool:
    try:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind is socket.SOCK_STREAM:  # as brokers do, in spite of connections of before
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S, what: str = "") -> None:
    """Wait for a condition that must become true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {what or condition}")
        time.sleep(0.01)


class Mosquitto:
    """One broker process on one port; it may be stopped and started again."""

    def __init__(
        self, folder: Path, extra: str = "", *, port: int | None = None, autosave: bool = True
    ) -> None:
        self.port = port or free_port()
        self._folder = folder
        self._config = folder / "mosquitto.conf"
        listener = extra or f"listener {self.port} 127.0.0.1\nallow_anonymous true\n"
        self._config.write_text(
            "persistence true\n"
            f"persistence_location {folder}/\n"
            + ("autosave_on_changes true\nautosave_interval 1\n" if autosave else "")
            +
            # What a killed broker has not delivered to the recorder is lost; not tested here.
            "max_inflight_messages 0\n"
            # As root it would run as another user, who may not write to this folder.
            + ("user root\n" if os.geteuid() == 0 else "")
            + listener.replace("{port}", str(self.port)),
            encoding="utf-8",
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            pytest.fail("mosquitto is not installed: apt-get install mosquitto")
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-c", str(self._config), "-v"], stdout=log, stderr=log
            )
        until(self._answers, what="mosquitto listens")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(PATIENCE_S)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(PATIENCE_S)

    def logged(self, text: bytes) -> int:
        """Return how often the log contains a text."""
        return (self._folder / "mosquitto.log").read_bytes().count(text)

    def written_bytes(self) -> int:
        """Return how much the process has written to files and sockets."""
        assert self._process is not None
        counts = Path(f"/proc/{self._process.pid}/io").read_text(encoding="ascii")
        return int(counts.split("wchar: ")[1].split()[0])

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"mosquitto ended: {(self._folder / 'mosquitto.log').read_text()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.2):
                return True
        except OSError:
            return False


class Recorder:
    """Subscribes to one or more filters with a session of its own and records every message."""

    def __init__(
        self,
        settings: MqttSettings,
        pattern: str | Sequence[str] = "tocsin/#",
        name: str = "recorder",
    ) -> None:
        self.messages: list[Message] = []
        self._settings, self._name = settings, name
        self._patterns = [pattern] if isinstance(pattern, str) else list(pattern)
        self._stopping = threading.Event()
        self._subscribed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._subscribed.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        earlier, arrived = set[tuple[int, str, bytes]](), set[tuple[int, str, bytes]]()
        while not self._stopping.is_set():
            connection = Connection(self._settings, self._name, keep_session=True)
            try:
                connection.open()
                connection.subscribe(self._patterns)
                while not self._stopping.is_set():
                    events = connection.step(0.05)
                    for message in events.messages:
                        # A broker that ends before it has an acknowledgement delivers again.
                        key = (message.mid, message.topic, message.payload)
                        if not message.mid or key not in earlier:
                            self.messages.append(message)
                        arrived.add(key)
                        connection.acknowledge(message)
                    if events.subscribed:
                        self._subscribed.set()
                connection.close()
            except DeliveryError:
                self._stopping.wait(0.1)
            finally:
                connection.abort()
                earlier |= arrived

    def alerts(self, *branches: Branch) -> list[Alert]:
        """Decode the alerts that arrived on these branches, in order."""
        return [
            decode_with_additions(message.payload, message.user.get(PROPERTY, ""))
            for message in list(self.messages)
            if (address := parse(message.topic)) is not None and address.branch in branches
        ]

    def team(self) -> list[Alert]:
        return self.alerts(Branch.ALERT, Branch.TECHNICAL)

    def bedside(self) -> list[Alert]:
        return self.alerts(Branch.BEDSIDE)

    def payloads(self, branch: Branch) -> list[bytes]:
        return [
            message.payload
            for message in list(self.messages)
            if (address := parse(message.topic)) is not None and address.branch is branch
        ]


def publish_all(connection: Connection, *messages: tuple[str, bytes]) -> None:
    """Publish messages, and wait until the broker has them: a socket may not take them at once."""
    waiting = {connection.publish(topic, payload) for topic, payload in messages}

    def acknowledged() -> bool:
        waiting.difference_update(ack.mid for ack in connection.step(0.05).acks)
        return not waiting

    until(acknowledged, what="the broker has the messages")


def quick(port: int, version: str = "5", **changes: object) -> MqttSettings:
    """Give settings that reconnect at once, and time out late: the machine may be busy."""
    values: dict[str, object] = {
        "host": "127.0.0.1",
        "port": port,
        "version": version,
        "keepalive_s": 60,
        "connect_timeout_s": 30.0,
        "ack_timeout_s": 30.0,
        "reconnect_min_s": 0.05,
        "reconnect_max_s": 0.2,
        "health_s": 0.0,
    }
    return msgspec.convert(values | changes, MqttSettings)


def authority(folder: Path, name: str) -> Path:
    """Make a self-signed certificate for 127.0.0.1, which is its own authority."""
    cert = folder / f"{name}.pem"
    arguments = (
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", str(cert.with_suffix(".key")), "-out", str(cert)),
    )
    subprocess.run(arguments, check=True, capture_output=True)
    return cert


def add_users(passwd: Path, password: str, *users: str) -> None:
    """Write a mosquitto password file in which every user has the same password."""
    passwd.touch(0o600)
    for user in users:
        subprocess.run(
            ["mosquitto_passwd", "-b", str(passwd), user, password],
            check=True,
            capture_output=True,
        )

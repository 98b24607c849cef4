"""The ward under test: a broker, some beds with a device and an agent each, one receiver."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec

from chaos.proxy import Proxy
from support.brokers import Mosquitto, Recorder, free_port, quick
from support.live_device import LiveDevice
from support.programs import PATIENCE_S, child_environment
from tocsin_agent.delivery.audit import COMMITTED, DELIVERED
from tocsin_agent.messages.alert import Key
from tocsin_agent.messages.topics import Branch, parse

SITE = "chaos"
_DROPPED_AFTER_S = 10.0  # what the broker acknowledged and did not send by then, it has lost
SCRIPT = """
name = "chaos"
rate_hz = 250.0
segments = [
  {seconds = 12.0},
  {seconds = 6.0, rhythm = "ventricular_tachycardia"},
  {seconds = 9.0},
  {seconds = 9.0, pattern = "NNNNNVV"},
  {seconds = 6.0, rhythm = "ventricular_fibrillation"},
  {seconds = 9.0},
  {seconds = 6.0, rhythm = "asystole"},
]
"""


class Bed:
    """One device and one agent, which is started again whenever it was killed.

    Parameters
    ----------
    name : str
        Its name in the topics.
    folder : Path
        For its files.
    outbox : Path
        Its outbox, which may be on a small file system of its own.
    broker : str
        The lines of the table `[mqtt]` that say where the broker is.
    script : Path
        What its patient does.
    environment : dict, optional
        Further variables of the agent's environment.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        outbox: Path,
        broker: str,
        script: Path,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name, self.outbox, self.log = name, outbox, folder / "agent.log"
        self._environment = child_environment() | (environment or {})
        self._config = folder / "tocsin.toml"
        port = free_port()
        self.device = LiveDevice(port, str(script))
        self._config.write_text(
            f'site = "{SITE}"\ndevice = "{name}"\n'
            f'[source]\nuri = "tcp://127.0.0.1:{port}"\n'
            f'[outbox]\npath = "{outbox}"\n'
            "[receipts]\nexpected = true\nwait_s = 2\n"
            f"[mqtt]\n{broker}\nkeepalive_s = 5\nack_timeout_s = 5\n"
            "reconnect_min_s = 0.1\nreconnect_max_s = 1.0\nhealth_s = 2.0\n",
            encoding="utf-8",
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the agent."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tocsin_agent", "run", "--config", str(self._config)],
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    def kill(self) -> None:
        """End the agent at once."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def stop(self) -> None:
        """Ask the agent to end, and wait until it has."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)

    def committed(self) -> list[Key]:
        """Return the keys of all alerts that were ever committed, in that order."""
        query = "SELECT alert_id, sequence FROM audit WHERE event = ? ORDER BY entry"
        return [(str(row[0]), int(str(row[1]))) for row in self._read(query, COMMITTED)]

    def unconfirmed(self) -> list[Key]:
        """Return what is below high priority and was acknowledged by the broker."""
        query = (
            "SELECT alert_id, sequence FROM audit WHERE event = ? AND alert_id || sequence NOT IN "
            "(SELECT alert_id || sequence FROM alert WHERE priority = 'high')"
        )
        return [(str(row[0]), int(str(row[1]))) for row in self._read(query, DELIVERED)]

    def pending(self) -> int:
        """Return how many alerts wait."""
        return int(str(self._read("SELECT COUNT(*) FROM alert WHERE pending = 1")[0][0]))

    def open(self) -> set[Key]:
        """Return the keys of the patient's episodes that have no end.

        Some technical ones last longer than a campaign, such as a client id in use twice (600 s).
        """
        query = (
            "SELECT alert_id FROM alert WHERE kind = 'physiological' GROUP BY alert_id "
            "HAVING NOT MAX(phase = 'end')"
        )
        ids = {row[0] for row in self._read(query)}
        return {key for key in self.committed() if key[0] in ids}

    def _read(self, query: str, *values: object) -> list[tuple[object, ...]]:
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                with contextlib.closing(
                    sqlite3.connect(f"file:{self.outbox}?mode=ro", uri=True)
                ) as db:
                    return db.execute(query, values).fetchall()
            except sqlite3.OperationalError:  # not made yet, or locked
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)


class Receiver:
    """The process `tocsin watch` with a session, and the lines that it wrote."""

    def __init__(self, folder: Path, port: int) -> None:
        self._lines, self._errors = folder / "watch.jsonl", folder / "watch.log"
        self._environment = child_environment() | {"XDG_STATE_HOME": str(folder)}
        self._port = port
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        command = f"-m tocsin_agent watch --json --session chaos --port {self._port}".split()
        with self._lines.open("ab") as lines, self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *command], stdout=lines, stderr=errors, env=self._environment
            )

    def kill(self) -> None:
        """End it at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def shown(self) -> list[Key]:
        """Return the keys that it showed as new, in that order."""
        return [
            (line["alert"]["alert_id"], line["alert"]["sequence"])
            for line in self.lines()
            if line["type"] == "alert" and not (line["again"] or line["repeated"])
        ]

    def lines(self) -> Iterator[dict[str, Any]]:
        """Return each whole line: a kill may cut the last one of a process short."""
        for line in self._lines.read_bytes().splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                yield msgspec.json.decode(line)


class Ward:
    """All processes of a campaign; a context manager that ends them.

    Parameters
    ----------
    folder : Path
        For all files.
    beds : int
        How many beds; the first has its outbox on `small_disk`, the last speaks TLS and has a
        clock that can be stepped.
    seed : int
        Of the proxy's losses.
    small_disk : Path or None
        A small file system, if one could be mounted.
    """

    def __init__(self, folder: Path, beds: int, seed: int, small_disk: Path | None) -> None:
        self.folder, self.small_disk = folder, small_disk
        self.tls_port = free_port()
        self.broker_folder = folder / "mosquitto"
        self.broker_folder.mkdir()
        self.certify("1 hour ago", 2)
        port = free_port()
        self.broker = Mosquitto(
            self.broker_folder,
            f"listener {port} 127.0.0.1\nallow_anonymous true\n"
            f"listener {self.tls_port} 127.0.0.1\nallow_anonymous true\n"
            f"certfile {self.broker_folder}/broker.pem\nkeyfile {self.broker_folder}/broker.key\n",
            port=port,
        )
        self._seed, self._number = seed, beds
        self.beds: list[Bed] = []
        self.before_broker: dict[str, int] = {}  # status messages before its last start
        self.faketime = folder / "faketime"
        self.faketime.write_text("+0s\n", encoding="ascii")

    def certify(self, when: str, days: int) -> None:
        """Make the broker's certificate as of a time, in the words of `faketime`."""
        folder = self.broker_folder
        if not (folder / "ca.pem").exists():
            _shell(
                folder,
                "openssl req -x509 -newkey rsa:2048 -nodes -days 9 -keyout ca.key -out ca.pem"
                " -subj '/CN=chaos authority' -addext 'keyUsage=critical,keyCertSign,cRLSign';"
                "openssl req -newkey rsa:2048 -nodes -keyout broker.key -out broker.csr"
                " -subj /CN=127.0.0.1; printf"
                r" 'subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n' > names",
            )
        _shell(
            folder,
            f"faketime '{when}' openssl x509 -req -in broker.csr -CA ca.pem -CAkey ca.key"
            f" -CAcreateserial -days {days} -extfile names -out broker.pem",
        )

    def __enter__(self) -> Self:
        self._open = contextlib.ExitStack()
        self.broker.start()
        self._open.callback(self.broker.stop)
        self.plain = self._open.enter_context(Proxy(self.broker.port, self._seed))
        self.tls = self._open.enter_context(Proxy(self.tls_port, self._seed + 1))
        self.recorder = self._open.enter_context(
            Recorder(
                quick(self.broker.port),
                [f"tocsin/v1/{SITE}/+/{rest}" for rest in ("status", "health", "technical/+")],
            )
        )
        self.receiver = Receiver(self.folder, self.broker.port)
        self.receiver.start()
        self._open.callback(self.receiver.kill)
        script = self.folder / "patient.toml"
        script.write_text(SCRIPT, encoding="utf-8")
        for number in range(self._number):
            bed = self._bed(number, script)
            self.beds.append(bed)
            self._open.enter_context(bed.device)
            bed.start()
            self._open.callback(bed.kill)
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        self._open.close()

    def _bed(self, number: int, script: Path) -> Bed:
        folder = self.folder / f"bed-{number}"
        folder.mkdir()
        last = number == self._number - 1
        small = number == 0 and self.small_disk is not None
        broker = f'host = "127.0.0.1"\nport = {self.tls.port if last else self.plain.port}'
        if last:
            broker += f'\ntls = {{ca_file = "{self.broker_folder}/ca.pem"}}'
        return Bed(
            folder.name,
            folder,
            outbox=(self.small_disk if small and self.small_disk else folder) / "outbox.db",
            broker=broker,
            script=script,
            environment=_stepped_clock(self.faketime) if last else None,
        )

    def restart_broker(self, pause_s: float = 0.0) -> None:
        """End the broker at once, and start it again."""
        self.broker.kill()
        time.sleep(pause_s)
        self.before_broker = {bed.name: len(self.messages(bed, Branch.STATUS)) for bed in self.beds}
        self.broker.start()

    def online(self, bed: Bed) -> bool:
        """Return whether the last thing that an agent said to this broker is that it is online."""
        states = self.messages(bed, Branch.STATUS)[self.before_broker.get(bed.name, 0) :]
        return bool(states) and b'"online"' in states[-1]

    def heal(self) -> None:
        """End every fault of the network and of the clock."""
        self.plain.heal()
        self.tls.heal()

    def messages(self, bed: Bed, branch: Branch) -> list[bytes]:
        """Return what a bed published on a branch, as a bystander received it."""
        return [
            message.payload
            for message in list(self.recorder.messages)
            if (address := parse(message.topic)) is not None
            and (address.branch, address.device) == (branch, bed.name)
        ]

    def settled(self, damaged: frozenset[Key], stop: threading.Event) -> bool:
        """Return True as soon as every episode has ended and the receiver has every alert."""
        for bed in self.beds:
            bed.device.stopped_alarming.set()
        since_s = time.monotonic()
        while not stop.wait(0.5):
            # Nobody can end an episode whose only document was destroyed before it was sent.
            quiet = all(not bed.pending() and bed.open() <= damaged for bed in self.beds)
            missing = {key for bed in self.beds for key in bed.committed()} - damaged
            missing -= set(self.receiver.shown())
            rest = missing - {key for bed in self.beds for key in bed.unconfirmed()}
            if not quiet or rest:
                since_s = time.monotonic()
            elif not missing or time.monotonic() > since_s + _DROPPED_AFTER_S:
                return True
        return False


def _shell(folder: Path, commands: str) -> None:
    subprocess.run(["bash", "-ec", commands], cwd=folder, check=True, capture_output=True)


def _stepped_clock(file: Path) -> dict[str, str]:
    """Return the environment of a process whose clock (not the monotonic one) obeys a file."""
    library = next(path for path in sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")))
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TZ": os.environ.get("TZ", "UTC"),
    }

"""How fast alerts are committed and delivered, through a mosquitto on this machine.

Measured in one process: an outbox on disk, a publisher with the desk of answers, as `tocsin run`
has them, and a receiver with a connection of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.errors import LabError
from tocsin_agent.lab.local_broker import local_broker
from tocsin_agent.messages.alert import (
    Alert,
    Codes,
    Evidence,
    Key,
    Kind,
    Phase,
    Priority,
    SignalQuality,
    Strip,
    decode_alert,
    make_alert_id,
)
from tocsin_agent.messages.health import BrokerState
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.settings import MqttSettings

_SITE, _DEVICE = "bench", "bench"
_HIGH_SHARE = 10  # one in so many is of high priority
_PAUSE_S = 0.05  # between two alerts whose latency is measured
_FLOOD_PER_S = 10_000
_PATIENCE_S = 600.0


def measure_delivery(waiting: int, alerts: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure latency, a backlog, and latency under a flood of inbound messages.

    Parameters
    ----------
    waiting : int
        Alerts that wait when the broker comes back; one in ten is of high priority.
    alerts : int
        Alerts whose latency is measured, one after the other.
    say : callable
        Called with the name of each measurement as it begins.

    Returns
    -------
    dict
        The keys that `tocsin bench --help` lists.

    Raises
    ------
    LabError
        If mosquitto is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name:
        folder = Path(name)
        with local_broker(folder) as port:
            say(f"{alerts} alerts from commit to receiver")
            commit_ms, arrival_ms = _latency(folder / "latency", port, alerts)
            say(f"{alerts // 4} alerts during {_FLOOD_PER_S} presence messages a second")
            with _Flood(port) as flood:
                _, flooded_ms = _latency(folder / "flood", port, max(alerts // 4, 10))
            say(f"{waiting} alerts that wait")
            backlog = _backlog(folder / "backlog", port, waiting)
    return {
        "commit_ms": _percentiles(commit_ms),
        "commit_to_receiver_ms": _percentiles(arrival_ms),
        "commit_to_receiver_flooded_ms": _percentiles(flooded_ms)
        | {"flood_per_s": round(flood.per_s)},
        "backlog_s": backlog,
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    points = {"p50": 50, "p99": 99, "max": 100}
    return {name: round(float(np.percentile(values, at)), 2) for name, at in points.items()}


def _settings(port: int) -> MqttSettings:
    return MqttSettings(host="127.0.0.1", port=port, ack_timeout_s=60.0, reconnect_min_s=0.1)


def _alert(number: int) -> Alert:
    priority = Priority.HIGH if number % _HIGH_SHARE == 0 else Priority.MEDIUM
    now = datetime.now(UTC)
    return Alert(
        alert_id=make_alert_id("bench", "bench", number),
        sequence=1,
        phase=Phase.ONSET,
        kind=Kind.PHYSIOLOGICAL,
        code="ventricular_tachycardia" if priority is Priority.HIGH else "pause",
        codes=Codes(),
        priority=priority,
        onset_index=number,
        detected_index=number,
        onset_at=now,
        detected_at=now,
        device=_DEVICE,
        site=_SITE,
        stream="bench",
        synthetic=True,
        evidence=Evidence("bench", {}, {}),
        signal_quality=SignalQuality({"I": 1.0}),
        text="Measured by tocsin bench.",
        strip=Strip.encode(("I",), 125.0, 0, np.zeros((1250, 1))),
    )


class _Receiver:
    """Notes when each alert arrives, in a thread."""

    def __init__(self, port: int) -> None:
        self.arrived: dict[Key, float] = {}
        self._connection = Connection(_settings(port), "bench-receiver")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._connection.open()
        wanted = self._connection.subscribe([f"tocsin/v1/{_SITE}/{_DEVICE}/alert/+"])
        while wanted not in self._connection.step(1.0).subscribed:
            pass
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._connection.wake()
        self._thread.join()
        self._connection.close()

    def wait(self, count: int) -> None:
        """Wait until so many alerts have arrived."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while len(self.arrived) < count:
            if time.monotonic() > deadline_s:
                raise LabError(f"only {len(self.arrived)} of {count} alerts arrived")
            time.sleep(0.001)

    def _run(self) -> None:
        while not self._stopping.is_set():
            for message in self._connection.step(1.0).messages:
                now_s = time.monotonic()
                self.arrived.setdefault(decode_alert(message.payload).key, now_s)
                self._connection.acknowledge(message)


def _latency(folder: Path, port: int, alerts: int) -> tuple[list[float], list[float]]:
    folder.mkdir()
    committed: dict[Key, float] = {}
    commit_ms = []
    with Outbox(folder / "outbox.db") as outbox, _Receiver(port) as receiver:
        publisher = Publisher(
            outbox, _settings(port), site=_SITE, device=_DEVICE, answers=outbox.answers
        )
        with publisher:
            publisher.reached(BrokerState.ONLINE, _PATIENCE_S)
            for number in range(alerts):
                alert = _alert(number)
                began_s = time.monotonic()
                outbox.append([alert])
                committed[alert.key] = time.monotonic()
                commit_ms.append((committed[alert.key] - began_s) * 1000)
                publisher.wake()
                time.sleep(_PAUSE_S)
            receiver.wait(alerts)
        arrived = receiver.arrived
    return commit_ms, [(arrived[key] - at_s) * 1000 for key, at_s in committed.items()]


def _backlog(folder: Path, port: int, waiting: int) -> dict[str, float]:
    folder.mkdir()
    highs = {_alert(n).key for n in range(0, waiting, _HIGH_SHARE)}
    with Outbox(folder / "outbox.db", max_pending=waiting + 1) as outbox:
        for first in range(0, waiting, 500):
            outbox.append([_alert(n) for n in range(first, min(first + 500, waiting))])
        with _Receiver(port) as receiver:
            publisher = Publisher(
                outbox, _settings(port), site=_SITE, device=_DEVICE, answers=outbox.answers
            )
            began_s = time.monotonic()
            with publisher:
                receiver.wait(waiting)
                publisher.drained(_PATIENCE_S)
            drained_s = time.monotonic() - began_s
            arrived = {key: at_s - began_s for key, at_s in receiver.arrived.items()}
    return {
        "waiting": waiting,
        "first_high": round(min(arrived[key] for key in highs), 2),
        "all_high": round(max(arrived[key] for key in highs), 2),
        "drained": round(drained_s, 2),
    }


class _Flood:
    """Publishes leases at `_FLOOD_PER_S`, in a process of its own."""

    def __init__(self, port: int) -> None:
        self.per_s = 0.0
        self._port, self._began_s = port, 0.0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        arguments = [sys.executable, "-c", _FLOOD, str(self._port), str(_FLOOD_PER_S)]
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            out, _err = self._process.communicate("end\n")
            self.per_s = float(out)


_FLOOD = f"""
import select, sys, time
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.settings import MqttSettings
connection = Connection(MqttSettings(host="127.0.0.1", port=int(sys.argv[1])), "bench-flood")
connection.open()
began_s, sent, per_s = time.monotonic(), 0, int(sys.argv[2])
while not select.select([sys.stdin], [], [], 0.0)[0]:
    for _ in range(100):
        connection.publish("tocsin/v1/{_SITE}/presence/cardiologist", b"{{}}", qos=0)
    sent += 100
    connection.step(max(0.0, began_s + sent / per_s - time.monotonic()))
print(sent / (time.monotonic() - began_s))
"""

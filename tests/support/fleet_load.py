"""Thousands of gateways at one broker, and shared consumers: a program, not a test.

::

    PYTHONPATH=tests:$PYTHONPATH python tests/support/fleet_load.py --gateways 10000 --consumers 2

Real connections over the loopback, each with a will, a retained status and a minute's health and
trend, and alerts with ten seconds of ECG; then a storm, in which every gateway sends an alert at
once. The consumers share one subscription (`$share/GROUP/…`, MQTT 5), so that each alert goes to
one of them. Prints JSON: how long connecting took, delays, what was lost, what broker and consumers
cost. `--stock` leaves mosquitto the queues that it has by itself, `--descriptors 1024` the files
that a service may open by itself; `--pause` stops the consumers while the storm is sent.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from support.brokers import free_port, quick
from support.factories import make_alert, make_strip
from tocsin_agent.messages.alert import Priority, encode_alert
from tocsin_agent.messages.topics import Topics
from tocsin_agent.team.feed import AlertSeen
from tocsin_agent.team.receiver import Receiver

SHARED = "$share/receivers/tocsin/v1/+/+/alert/+"
TUNED = "max_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\n"
HEALTH = b"{" + b'"x":0,' * 80 + b'"y":0}'
"""About as long as a document of health or trend."""


@contextmanager
def broker(folder: Path, stock: bool, descriptors: int) -> Iterator[tuple[int, int]]:
    """Run mosquitto; yields its port and its process id."""
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        + ("" if stock else TUNED)
    )
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["prlimit", f"--nofile={descriptors}:{descriptors}", program, "-c", str(config)],
            stdout=log, stderr=log,
        )  # fmt: skip
    time.sleep(0.5)
    try:
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60.0)


def cost(pid: int) -> tuple[float, float]:
    """Return CPU seconds so far, and resident megabytes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    return (int(fields[11]) + int(fields[12])) / ticks, resident / 1e6


class Gateways:
    """Many MQTT clients in one thread."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._clients: list[paho.Client] = []
        self._selector = selectors.DefaultSelector()
        self.count, self.connected, self.refused, self.acknowledged = count, 0, 0, 0
        self._strip = make_strip(10.0, 250.0, 2)

    def connect(self, seconds: float) -> None:
        """Connect all, or as many as the broker accepts within a time."""
        until = time.monotonic() + seconds
        for number in range(self.count):
            if time.monotonic() > until or self.refused > 50:
                break
            topics = Topics("site", f"g{number}")
            client = paho.Client(
                CallbackAPIVersion.VERSION2, client_id=f"g{number}", protocol=paho.MQTTv5,
                reconnect_on_failure=False,
            )  # fmt: skip
            client.will_set(topics.status, b'{"state":"offline"}', qos=1, retain=True)
            client.on_connect = self._on_connect
            client.on_publish = self._on_publish
            client.user_data_set(topics)
            try:
                client.connect("127.0.0.1", self._port, keepalive=300)
            except OSError:
                self.refused += 1
                continue
            self._selector.register(client.socket(), selectors.EVENT_READ, client)  # type: ignore[arg-type]
            self._clients.append(client)
            self.step(0.0)
        while self.connected + self.refused < len(self._clients) and time.monotonic() < until:
            self.step(0.1)

    def step(self, seconds: float) -> None:
        """Read what has arrived."""
        for key, _ in self._selector.select(seconds):
            client: paho.Client = key.data
            if client.loop_read() != paho.MQTT_ERR_SUCCESS:
                self._selector.unregister(key.fileobj)
                self.refused += 1
            elif client.want_write():
                client.loop_write()

    def minute(self, number: int) -> None:
        """Publish health, trend and status of one gateway."""
        client = self._clients[number % len(self._clients)]
        topics: Topics = client.user_data_get()
        client.publish(topics.health, HEALTH, qos=0)
        client.publish(topics.trend, HEALTH, qos=0, retain=True)

    def alert(self, number: int) -> None:
        """Publish an alert of one gateway, QoS 1."""
        client = self._clients[number % len(self._clients)]
        topics: Topics = client.user_data_get()
        now = datetime.now(UTC)
        document = msgspec.structs.replace(
            make_alert(), alert_id=f"{random.getrandbits(128):032x}", device=topics.device,
            site=topics.site, published_at=now, strip=self._strip,
        )  # fmt: skip
        topic = f"{topics.base}/alert/{Priority.HIGH}"
        client.publish(topic, encode_alert(document), qos=1)
        while client.want_write():
            client.loop_write()

    def _on_connect(self, client: paho.Client, topics: Any, _f: Any, code: Any, _p: Any) -> None:  # noqa: ANN401
        if code.is_failure:
            self.refused += 1
            return
        self.connected += 1
        client.publish(topics.status, b'{"state":"online"}', qos=1, retain=True)

    def _on_publish(self, *_: Any) -> None:  # noqa: ANN401
        self.acknowledged += 1


def consume(port: int, number: int, reports: multiprocessing.Queue[Any]) -> None:
    """Receive a share of the alerts and report the delay of each, in batches."""
    with Receiver(quick(port), [SHARED], client_id=f"consumer-{number}") as receiver:
        while True:
            delays = []
            for item in receiver.poll(0.2):
                if isinstance(item, AlertSeen) and item.alert.published_at is not None:
                    ago = datetime.now(UTC) - item.alert.published_at
                    delays.append((item.alert.alert_id, ago.total_seconds()))
            if delays:
                reports.put((number, delays))


class Tally:
    """What the consumers have reported."""

    def __init__(self, reports: multiprocessing.Queue[Any]) -> None:
        self._reports = reports
        self.delays: list[float] = []
        self.ids: set[str] = set()
        self.by_consumer: dict[int, int] = {}

    def take(self) -> None:
        while not self._reports.empty():
            number, delays = self._reports.get()
            self.by_consumer[number] = self.by_consumer.get(number, 0) + len(delays)
            self.delays += [delay for _, delay in delays]
            self.ids |= {alert_id for alert_id, _ in delays}

    def figures(self) -> dict[str, Any]:
        """Return the figures so far, and begin again."""
        ms = [round(1000 * float(x), 1) for x in np.percentile(self.delays, (50, 99, 100))] if (
            self.delays
        ) else None  # fmt: skip
        found = {
            "received": len(self.delays),
            "twice": len(self.delays) - len(self.ids),
            "ms_median_p99_worst": ms,
            "by_consumer": dict(sorted(self.by_consumer.items())),
        }
        self.delays, self.ids, self.by_consumer = [], set(), {}
        return found


def steady(fleet: Gateways, tally: Tally, seconds: float, per_hour: float) -> int:
    """Let the fleet work as in the field; return the number of alerts sent."""
    began, minutes, sent = time.monotonic(), 0, 0
    while (now := time.monotonic() - began) < seconds:
        for due in range(minutes, int(now * fleet.connected / 60)):
            fleet.minute(due)
            minutes += 1
        for due in range(sent, int(now * fleet.connected * per_hour / 3600)):
            fleet.alert(due * 7919)
            sent += 1
        fleet.step(0.005)
        tally.take()
    return sent


def storm(fleet: Gateways, tally: Tally, seconds: float, paused: list[int]) -> tuple[float, float]:
    """Let each gateway send an alert at once; return the seconds of sending and of receiving.

    The processes in `paused` stand still until all alerts are sent and acknowledged.
    """
    began, wanted = time.monotonic(), fleet.acknowledged + fleet.connected
    for pid in paused:
        os.kill(pid, signal.SIGSTOP)
    for number in range(fleet.connected):
        fleet.alert(number)
        if number % 50 == 0:
            fleet.step(0.0)
            tally.take()
    while paused and fleet.acknowledged < wanted and time.monotonic() - began < seconds:
        fleet.step(0.02)
    for pid in paused:
        os.kill(pid, signal.SIGCONT)
    sent_s = time.monotonic() - began
    last, since = -1, time.monotonic()
    while len(tally.ids) < fleet.connected and time.monotonic() - began < seconds:
        fleet.step(0.02)
        tally.take()
        if len(tally.delays) != last:
            last, since = len(tally.delays), time.monotonic()
        if time.monotonic() - since > 15.0:
            break  # nothing more comes
    return sent_s, since - began


def main() -> None:
    """Run the load and print what it cost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gateways", type=int, default=10_000)
    parser.add_argument("--consumers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0, help="of the steady part")
    parser.add_argument("--alerts-per-hour", type=float, default=6.0, help="of each gateway")
    parser.add_argument("--stock", action="store_true", help="mosquitto's own queues")
    parser.add_argument("--descriptors", type=int, help="of the broker")
    parser.add_argument("--pause", action="store_true", help="stop the consumers in the storm")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    result: dict[str, Any] = {
        "gateways": given.gateways,
        "stock": given.stock,
        "pause": given.pause,
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        broker(Path(folder), given.stock, given.descriptors or hard) as (port, pid),
    ):
        reports: multiprocessing.Queue[Any] = multiprocessing.Queue()
        consumers = [
            multiprocessing.Process(target=consume, args=(port, n, reports), daemon=True)
            for n in range(given.consumers)
        ]
        for consumer in consumers:
            consumer.start()
        time.sleep(3.0)
        fleet, tally = Gateways(port, given.gateways), Tally(reports)
        began, (cpu, before_mb) = time.monotonic(), cost(pid)
        fleet.connect(180.0)
        after_cpu, after_mb = cost(pid)
        result["connect"] = {
            "connected": fleet.connected,
            "refused": fleet.refused,
            "seconds": round(time.monotonic() - began, 1),
            "broker_cpu_s": round(after_cpu - cpu, 2),
            "broker_kb_each": round((after_mb - before_mb) * 1000 / max(fleet.connected, 1), 1),
        }
        cpu = cost(pid)[0]
        sent = steady(fleet, tally, given.seconds, given.alerts_per_hour)
        time.sleep(1.0)
        tally.take()
        result["steady"] = {
            "alerts": sent,
            **tally.figures(),
            "broker_cpu_percent": round(100 * (cost(pid)[0] - cpu) / given.seconds, 1),
            "broker_mb": round(cost(pid)[1], 1),
        }
        paused = [c.pid or 0 for c in consumers] if given.pause else []
        cpu, used = cost(pid)[0], [cost(c.pid or 0)[0] for c in consumers]
        acknowledged = fleet.acknowledged
        sent_s, received_s = storm(fleet, tally, 240.0, paused)
        result["storm"] = {
            "alerts": fleet.connected,
            "acknowledged": fleet.acknowledged - acknowledged,
            "sent_in_s": round(sent_s, 1),
            "received_in_s": round(received_s, 1),
            **tally.figures(),
            "broker_cpu_s": round(cost(pid)[0] - cpu, 2),
            "consumers_cpu_s": [
                round(cost(c.pid or 0)[0] - before, 2)
                for c, before in zip(consumers, used, strict=True)
            ],
            "broker_mb": round(cost(pid)[1], 1),
        }
        result["broker_log"] = [
            line
            for line in (Path(folder) / "log").read_text(errors="replace").splitlines()
            if "rror" in line or "ropped" in line or "imit" in line
        ][-5:]
        for consumer in consumers:
            consumer.terminate()
    print(json.dumps(result, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()

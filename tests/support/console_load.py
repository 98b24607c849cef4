"""What a console costs, and how soon an alert is at its pages: a program, not a test.

::

    PYTHONPATH=tests:$PYTHONPATH python tests/support/console_load.py cpu       100 beds, 30 live
    PYTHONPATH=tests:$PYTHONPATH python tests/support/console_load.py latency   20 pages
    PYTHONPATH=tests:$PYTHONPATH python tests/support/console_load.py pixels 2  2 in Chromium
    PYTHONPATH=tests:$PYTHONPATH python tests/support/console_load.py drawing   60 live leads
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from support.brokers import Mosquitto, quick
from support.browser import Visit, chromium
from support.consoles import Page, serving, settings_of
from support.factories import make_alert, make_strip
from support.wards import active_document
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.messages.active import encode_active
from tocsin_agent.messages.alert import Phase, Priority
from tocsin_agent.messages.topics import Topics
from tocsin_agent.messages.waveform import GAIN_UV, Waveform, encode_waveform
from tocsin_agent.mqtt.connection import Connection, publish_retained

BEDS, LIVE, RATE_HZ, PIECE_S, SECONDS = 100, 30, 250, 0.5, 30.0
PAGES, ALERTS, SHOWN = int(sys.argv[2]) if len(sys.argv) > 2 else 20, 100, 30


def serve(folder: str, broker: int, ready: multiprocessing.Queue[int]) -> None:
    """Serve a console in a process of its own."""
    with serving(settings_of(Path(folder), quick(broker))) as running:
        ready.put(running.port)
        time.sleep(600)


def send(broker: int) -> None:
    """Publish what 100 devices publish, 30 of them with two live leads."""
    connection = Connection(quick(broker), "all-devices")
    connection.open()
    rows = int(RATE_HZ * PIECE_S)
    samples = Waveform.pack(np.sin(np.arange(rows) / 7.0))
    piece = 0
    while True:
        began_s = time.monotonic()
        for number in range(BEDS):
            topics = Topics("ward3", f"bed{number}")
            if piece % 10 == number % 10:
                active = active_document(topics.device, at=datetime.now(UTC), heart_rate_bpm=70.0)
                publish_retained(connection, topics.active, encode_active(active))
            if number < LIVE:
                for lead in ("II", "V1"):
                    wave = Waveform(
                        site="ward3",
                        device=topics.device,
                        stream="s",
                        lead=lead,
                        rate_hz=RATE_HZ,
                        start_index=piece * rows,
                        at=datetime.now(UTC),
                        gain_uv=GAIN_UV,
                        samples=samples,
                    )
                    connection.publish(topics.waveform(lead), encode_waveform(wave), qos=0)
        piece += 1
        connection.step(0.0)
        time.sleep(max(0.0, PIECE_S - (time.monotonic() - began_s)))


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _server(folder: Path, broker: Mosquitto) -> Iterator[tuple[int, int]]:
    """Run `serve`, and give its process and port."""
    context = multiprocessing.get_context("spawn")
    ready: multiprocessing.Queue[int] = context.Queue()
    server = context.Process(target=serve, args=(str(folder), broker.port, ready), daemon=True)
    server.start()
    assert server.pid is not None
    try:
        yield server.pid, ready.get(timeout=60)
    finally:
        server.terminate()


def cpu(folder: Path, broker: Mosquitto) -> None:
    """Print the share of a core that the server takes, with one page that watches 30 beds."""
    devices = multiprocessing.get_context("spawn").Process(
        target=send, args=(broker.port,), daemon=True
    )
    with _server(folder, broker) as (pid, port):
        page = Page(port)
        page.login("viewer")
        devices.start()
        with page.socket() as socket:
            beds = set[str]()
            while len(beds) < BEDS:
                message = socket.of("bed")
                beds.add(message["bed"]["device"])
            for number in range(LIVE):
                socket.send({"type": "watch", "site": "ward3", "device": f"bed{number}"})
            socket.of("wave")
            before, began_s, waves = cpu_s(pid), time.monotonic(), 0
            while (took_s := time.monotonic() - began_s) < SECONDS:
                waves += socket.until(lambda _: True)["type"] == "wave"
            used = (cpu_s(pid) - before) / took_s
        devices.terminate()
        print(  # noqa: T201
            f"{BEDS} beds, {LIVE} with two leads: {waves / took_s:.0f} waves/s received, "
            f"{100 * used:.1f} % of a core in the server"
        )


def latency(folder: Path, broker: Mosquitto) -> None:
    """Print the time from the commit of an alert to its message at 20 pages."""
    arrived: dict[str, list[float]] = {}
    committed: dict[str, float] = {}
    connected = threading.Barrier(PAGES + 1)
    with ExitStack() as stack:
        outbox = stack.enter_context(Outbox(folder / "outbox"))
        port = stack.enter_context(_server(folder, broker))[1]
        publisher = stack.enter_context(
            Publisher(
                outbox, quick(broker.port), site="ward3", device="bed7", answers=outbox.answers
            )
        )
        page = Page(port)
        page.login("viewer")

        def read() -> None:
            seen = set[str]()
            with page.socket() as socket:
                socket.of("beds")
                connected.wait()
                while len(seen) < ALERTS:
                    alert_id = socket.of("alert")["alert"]["alert_id"]
                    if alert_id not in seen:
                        seen.add(alert_id)
                        arrived.setdefault(alert_id, []).append(time.monotonic())

        threads = [threading.Thread(target=read, daemon=True) for _ in range(PAGES)]
        for thread in threads:
            thread.start()
        connected.wait()
        for number in range(ALERTS):
            index = 3600 * (number + 1)
            alert = make_alert(index, strip=make_strip(), priority=Priority.LOW, code="couplet")
            committed[alert.alert_id] = time.monotonic()
            outbox.append([alert])
            publisher.wake()
            time.sleep(0.2)
            end = msgspec.structs.replace(alert, sequence=2, phase=Phase.END, strip=None)
            outbox.append([end])  # its bed is quiet again
            publisher.wake()
            time.sleep(0.1)
        for thread in threads:
            thread.join(60)
    delays = sorted(
        1000 * (at - committed[alert_id]) for alert_id, all_at in arrived.items() for at in all_at
    )
    print(  # noqa: T201
        f"{len(delays)} messages of {ALERTS} alerts to {PAGES} pages: p50 "
        f"{statistics.median(delays):.0f} ms, p99 {delays[int(len(delays) * 0.99)]:.0f} ms"
    )


_MARKS = """
window.marks = [];
let shown = false;
new MutationObserver(() => {
  const now = document.querySelector("[data-priority]") !== null;
  if (now && !shown) requestAnimationFrame(() => window.marks.push(Date.now()));
  shown = now;
}).observe(document, { subtree: true, attributes: true, childList: true });
"""
"""Notes when an alert is on the wall: in the frame after the one that has it."""


def pixels(folder: Path, broker: Mosquitto) -> None:
    """Print the time from the commit of an alert to the frame that shows it, in 20 pages."""
    committed = list[float]()
    with ExitStack() as stack:
        outbox = stack.enter_context(Outbox(folder / "outbox"))
        port = stack.enter_context(_server(folder, broker))[1]
        publisher = stack.enter_context(
            Publisher(
                outbox, quick(broker.port), site="ward3", device="bed7", answers=outbox.answers
            )
        )
        browser = stack.enter_context(chromium())
        url = f"http://127.0.0.1:{port}/"  # each page in a window of its own: tabs do not draw
        visits = [Visit(browser, url, "viewer", script=_MARKS) for _ in range(PAGES)]
        first, pages = visits[0], [visit.page for visit in visits]
        for page in pages:
            page.wait_for_selector(".wall")
        first.page.wait_for_timeout(3000)
        for number in range(SHOWN):
            alert = make_alert(3600 * (number + 1), priority=Priority.LOW, code="couplet")
            committed.append(1000 * time.time())
            outbox.append([alert])
            publisher.wake()
            first.page.wait_for_timeout(600)
            outbox.append([msgspec.structs.replace(alert, sequence=2, phase=Phase.END)])
            publisher.wake()
            first.page.wait_for_timeout(400)
        marks = [page.evaluate("window.marks") for page in pages]
    ends = [*committed[1:], committed[-1] + 1000]
    delays = sorted(
        mark - begin
        for all_marks in marks
        for begin, end in zip(committed, ends, strict=True)
        for mark in all_marks
        if begin <= mark < end
    )
    print(  # noqa: T201
        f"{len(delays)} of {SHOWN * PAGES} drawn in {PAGES} pages: p50 "
        f"{statistics.median(delays):.0f} ms, p99 {delays[int(len(delays) * 0.99)]:.0f} ms"
    )


def drawing(folder: Path, broker: Mosquitto) -> None:
    """Print frames a second and CPU time of a wall of 100 beds, with 60 live leads and without.

    CPU time is that of all processes of Chromium: other load makes it longer by little.
    """
    devices = subprocess.Popen([sys.executable, "-m", "support.wall_beds", str(broker.port)])
    try:
        with _server(folder, broker) as (_, port), chromium() as browser:
            url = f"http://127.0.0.1:{port}/"
            for waves in ("true", "false"):
                shown = f"localStorage.setItem('tocsin.console', '{{\"waves\": {waves}}}');"
                size = {"width": 1920, "height": 1080}
                visit = Visit(browser, url, "viewer", script=shown, viewport=size)
                visit.until("document.querySelectorAll('.sites .tile').length === 100")
                visit.page.wait_for_timeout(5000.0)
                before, began_s = _tree_cpu_s(), time.monotonic()
                frames = visit.page.evaluate("tocsin.drawnFrames")
                visit.page.wait_for_timeout(20_000.0)
                took_s = time.monotonic() - began_s
                drawn = (visit.page.evaluate("tocsin.drawnFrames") - frames) / took_s
                used = (_tree_cpu_s() - before) / took_s
                print(  # noqa: T201
                    f"live leads on each tile: {waves}: {drawn:.1f} frames/s drawn, "
                    f"{100 * used:.0f} % of a core in Chromium, load {os.getloadavg()[0]:.0f}"
                )
                visit.close()
    finally:
        devices.terminate()
        devices.wait(60)


def _tree_cpu_s() -> float:
    """Return the CPU time of all processes of Chromium below this one."""
    parents, names = dict[int, int](), dict[int, str]()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            name, rest = (folder / "stat").read_text(encoding="ascii").rsplit(")", 1)
            parents[int(folder.name)], names[int(folder.name)] = int(rest.split()[1]), name
    total = 0.0
    for pid, name in names.items():
        above = pid
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid() and "chromium" in name:
            with suppress(OSError):
                total += cpu_s(pid)
    return total


def main(what: str) -> None:
    """Run one of them, with a broker of its own."""
    with tempfile.TemporaryDirectory(prefix="tocsin-") as name:
        folder = Path(name)
        (folder / "mosquitto").mkdir()
        broker = Mosquitto(folder / "mosquitto")
        broker.start()
        try:
            {"cpu": cpu, "latency": latency, "pixels": pixels, "drawing": drawing}[what](
                folder, broker
            )
        finally:
            broker.stop()


if __name__ == "__main__":
    main(sys.argv[1])

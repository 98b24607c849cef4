"""What one `tocsin run` of several patients costs: memory, CPU time, start; and equal alerts.

A process of `tocsin run` monitors N patients in real time through a mosquitto on this machine. All
read one scripted patient (two leads, 360 Hz) in blocks of 250 ms, as a live device sends them, so
that all must raise the same alerts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tocsin_agent.errors import LabError
from tocsin_agent.lab.local_broker import local_broker
from tocsin_agent.messages.active import MonitorState, decode_active
from tocsin_agent.messages.alert import Kind, decode_alert
from tocsin_agent.messages.topics import Branch, parse
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.settings import MqttSettings

_PATIENCE_S = 300.0
_SETTLE_S = 5.0
_STOP_S = 60.0


def measure_patients(
    counts: list[int], seconds: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure one process for each number of patients.

    Parameters
    ----------
    counts : list of int
        Numbers of patients, 1 to 64.
    seconds : float
        Time over which CPU time is measured.
    say : callable
        Called with the name of each measurement as it begins.

    Raises
    ------
    LabError
        If mosquitto is not installed, or the agent ends.
    """
    found = []
    for patients in counts:
        say(f"{patients} patients for {seconds:.0f} s")
        with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name:
            found.append(_measure(Path(name), patients, seconds))
    return found


def _measure(folder: Path, patients: int, seconds: float) -> dict[str, Any]:
    with (
        local_broker(folder) as port,
        _receiver(port) as connection,
        _agent(folder, port, patients) as process,
    ):
        began_s = time.monotonic()
        watched = set[str]()
        alerts: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
        while len(watched) < patients:
            _take(connection, watched, alerts)
            _check(process, time.monotonic() - began_s)
        started_s = time.monotonic() - began_s
        _receive(connection, watched, alerts, _SETTLE_S)
        cpu_s, at_s = _cpu_s(process.pid), time.monotonic()
        _receive(connection, watched, alerts, seconds)
        used_s, over_s = _cpu_s(process.pid) - cpu_s, time.monotonic() - at_s
        memory = _memory_mb(process.pid)
        process.send_signal(signal.SIGTERM)
        _receive(connection, watched, alerts, 1.0)
    least = min((len(alerts[device]) for device in watched), default=0)
    equal = least > 0 and len({tuple(alerts[device][:least]) for device in watched}) == 1
    return {
        "patients": patients,
        "all_monitoring_s": round(started_s, 2),
        "cpu_of_one_core_percent": round(100 * used_s / over_s, 1),
        **memory,
        "alerts_of_each": least,
        "alerts_equal": equal,
    }


@contextmanager
def _agent(folder: Path, port: int, patients: int) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / "gateway.toml"
    tables = "".join(
        f'[[patient]]\ndevice = "bed-{n}"\n'
        'source = { uri = "synthetic:all_alarms", speed = 1, block_s = 0.25 }\n'
        for n in range(patients)
    )
    config.write_text(
        f'site = "bench"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
        f'[outbox]\npath = "{folder}/outbox.db"\n[log]\nlevel = "error"\n{tables}',
        encoding="utf-8",
    )
    command = [sys.executable, "-c", "from tocsin_agent.cli import main; main()"]
    with subprocess.Popen(
        [*command, "run", "--config", str(config)], env=dict(os.environ), cwd=folder
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def _receiver(port: int) -> Iterator[Connection]:
    connection = Connection(MqttSettings(host="127.0.0.1", port=port), "bench-receiver")
    connection.open()
    waiting = connection.subscribe(["tocsin/#"])
    while waiting not in connection.step(1.0).subscribed:
        pass
    try:
        yield connection
    finally:
        connection.close()


def _receive(
    connection: Connection,
    watched: set[str],
    alerts: dict[str, list[tuple[str, str, int]]],
    seconds: float,
) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        _take(connection, watched, alerts)


def _take(
    connection: Connection, watched: set[str], alerts: dict[str, list[tuple[str, str, int]]]
) -> None:
    """Take what has arrived: who is monitored, and the alerts of the patients."""
    for message in connection.step(0.1).messages:
        connection.acknowledge(message)
        address = parse(message.topic)
        if address is None or address.device is None:
            continue
        if address.branch is Branch.ACTIVE:
            if decode_active(message.payload).monitor is MonitorState.MONITORING:
                watched.add(address.device)
        elif address.branch is Branch.ALERT:
            alert = decode_alert(message.payload)
            if alert.kind is Kind.PHYSIOLOGICAL:
                alerts[address.device].append((alert.code, alert.phase, alert.onset_index))


def _check(process: subprocess.Popen[bytes], waited_s: float) -> None:
    if process.poll() is not None:
        raise LabError(f"tocsin run ended with exit code {process.returncode}")
    if waited_s > _PATIENCE_S:
        raise LabError(f"not all patients were monitored within {_PATIENCE_S:.0f} s")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> dict[str, float]:
    """Return resident memory, and the share that is this process's own or its part of shared."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    kb = {line.split(":")[0]: float(line.split()[1]) for line in lines[1:]}
    return {"rss_mb": round(kb["Rss"] / 1000, 1), "pss_mb": round(kb["Pss"] / 1000, 1)}

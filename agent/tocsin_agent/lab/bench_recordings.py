"""What several patients in one process change, and whether it grows: `tocsin run` over recordings.

Each patient has a recording of its own: a scripted hour (two leads, 360 Hz, with tachycardia,
fibrillation, asystole and ventricular beats), over and over, written as a WFDB record. The agent
reads it as fast as it can and publishes to a mosquitto on this machine; each alert is accepted.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tocsin_agent.errors import LabError
from tocsin_agent.lab.local_broker import local_broker
from tocsin_agent.messages.acknowledgement import Acknowledgement, Action, encode_acknowledgement
from tocsin_agent.messages.alert import Alert, decode_alert
from tocsin_agent.messages.topics import Branch, Topics, parse
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.sources.base import EndOfStream
from tocsin_agent.sources.scripted.script import Script, ScriptedRhythm, Segment
from tocsin_agent.sources.scripted.synthetic import SyntheticSource

_SITE = "bench"
_HOUR_S = 3600.0
_PATIENCE_S = 3600.0  # without any progress, on a machine that has other things to do
_STOP_S = 60.0
_GAIN = 200.0  # counts in a millivolt
_WALL_FIELDS = ("published_at", "presence", "escalation")
"""Fields of an alert that depend on when it was sent; all else depends on the samples alone."""


_NO_STRIP = hashlib.sha256(b"null").hexdigest().encode()
Documents = dict[tuple[str, int], bytes]
"""The alerts of one patient, by (id, sequence), without times of sending; of a strip, a hash."""


def measure_growth(patients: int, hours: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the resident memory of one process over hours of ECG of several patients.

    Parameters
    ----------
    patients : int
        1 to 64.
    hours : float
        Hours of ECG of each; the memory is measured after each 24th of them.
    say : callable
        Called with each measurement.

    Raises
    ------
    LabError
        If mosquitto or wfdb is not installed, or the agent ends or stands still.
    """
    marks: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name:
        folder = Path(name)
        say(f"writing {hours:g} h of ECG")
        _write_recordings(folder, 1, hours * _HOUR_S)
        for number in range(1, patients):
            _same_recording(folder, number)
        began_s = time.monotonic()
        with _run(folder, range(patients)) as run:
            for position_s in run.positions():
                if position_s >= (len(marks) + 1) * hours * _HOUR_S / 24:
                    mark = {
                        "ecg_hours": round(position_s / _HOUR_S, 2),
                        "rss_mb": run.rss_mb(),
                        "alerts": len(run.alerts),
                    }
                    marks.append(mark)
                    say(f"{mark['ecg_hours']} h of each: {mark['rss_mb']} MB resident")
        alerts = len(run.alerts)
    over_s = time.monotonic() - began_s
    third = [marks[0], marks[len(marks) // 2], marks[-1]] if marks else []
    return {
        "patients": patients,
        "hours_of_ecg_of_each": hours,
        "seconds": round(over_s, 1),
        "alerts": alerts,
        **{
            f"rss_mb_{k}": m["rss_mb"]
            for k, m in zip(("start", "middle", "end"), third, strict=False)
        },
        "marks": marks,
    }


def compare(patients: int, minutes: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Return whether patients in one process have the alerts of as many runs of one patient.

    Parameters
    ----------
    patients : int
        1 to 64.
    minutes : float
        Minutes of ECG of each.
    say : callable
        Called with the name of each run as it begins.

    Raises
    ------
    LabError
        As `measure_growth` does.
    """
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name:
        folder = Path(name)
        say(f"writing {patients} recordings of {minutes:g} min")
        _write_recordings(folder, patients, minutes * 60)
        say(f"{patients} patients in one process")
        together = _documents(folder, range(patients))
        alone: dict[str, Documents] = {}
        for number in range(patients):
            say(f"patient {number} alone")
            alone |= _documents(folder, [number])
    documents = [document for one in alone.values() for document in one.values()]
    different = [device for device in sorted(alone) if alone[device] != together.get(device)]
    return {
        "patients": patients,
        "minutes_of_ecg_of_each": minutes,
        "alerts_of_single_runs": sum(len(one) for one in alone.values()),
        "alerts_of_one_process": sum(len(one) for one in together.values()),
        "with_a_strip": sum(_NO_STRIP not in document for document in documents),
        "different_patients": different,
        "identical": not different and bool(alone),
    }


def _documents(folder: Path, numbers: range | list[int]) -> dict[str, Documents]:
    with _run(folder, numbers) as run:
        for _ in run.positions():
            pass
    found: dict[str, Documents] = {device: {} for device in run.devices}
    for alert, strip in run.alerts:
        fields = {**msgspec.to_builtins(alert), "strip": strip}
        for name in _WALL_FIELDS:
            fields.pop(name, None)
        document = msgspec.json.encode(fields)
        if found[alert.device].setdefault(alert.key, document) != document:
            raise LabError(f"{alert.device}: two documents of {alert.key} differ")
    return found


class _Run:
    """A process of `tocsin run`, and what a receiver gets of it."""

    def __init__(
        self, process: subprocess.Popen[bytes], connection: Connection, devices: list[str]
    ) -> None:
        self.process, self.devices = process, devices
        self.alerts: list[tuple[Alert, str]] = []  # without strip, and its hash
        self._connection = connection
        self._position_s = dict.fromkeys(devices, 0.0)
        self._stopped: set[str] = set()

    def positions(self) -> Iterator[float]:
        """Yield how far the last patient is, in seconds of ECG, until the process has ended."""
        moved_s, last = time.monotonic(), -1.0
        while self.process.poll() is None:
            self._take()
            position_s = min(self._position_s.values())
            if position_s > last:
                moved_s, last = time.monotonic(), position_s
                yield position_s
            elif time.monotonic() - moved_s > _PATIENCE_S:
                raise LabError(f"the agent stands still at {position_s:.0f} s of ECG")
        if self.process.returncode:
            raise LabError(f"tocsin run ended with exit code {self.process.returncode}")
        while self._take():
            pass

    def rss_mb(self) -> float:
        """Return the resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        lines = dict(line.split(":", 1) for line in status.splitlines())
        return round(float(lines["VmRSS"].split()[0]) / 1000, 1)

    def _take(self) -> int:
        messages = self._connection.step(0.5).messages
        for message in messages:
            self._connection.acknowledge(message)
            address = parse(message.topic)
            if address is None:
                continue
            if address.branch is Branch.HEALTH:
                health = msgspec.json.decode(message.payload, type=dict[str, Any])
                self._position_s[address.device] = float(health.get("position_s") or 0.0)
            elif address.branch in {Branch.ALERT, Branch.TECHNICAL}:
                self._answer(decode_alert(message.payload))
        return len(messages)

    def _answer(self, alert: Alert) -> None:
        """Keep an alert, and accept it: what nobody accepts is sent again and again."""
        strip = hashlib.sha256(msgspec.json.encode(alert.strip)).hexdigest()
        self.alerts.append((msgspec.structs.replace(alert, strip=None), strip))
        if alert.sequence == 1 and not alert.escalation.repeat:
            answer = Acknowledgement(
                id=alert.alert_id,
                alert_id=alert.alert_id,
                who="bench",
                action=Action.ACCEPT,
                at=datetime.now(UTC),
            )
            topic = Topics(_SITE, alert.device).ack(alert.alert_id)
            self._connection.publish(topic, encode_acknowledgement(answer))


@contextmanager
def _run(folder: Path, numbers: range | list[int]) -> Iterator[_Run]:
    devices = [f"bed-{number}" for number in numbers]
    with tempfile.TemporaryDirectory(dir=folder) as name, ExitStack() as stack:
        own = Path(name)
        port = stack.enter_context(local_broker(own))
        connection = Connection(MqttSettings(host="127.0.0.1", port=port), "bench-receiver")
        connection.open()
        stack.callback(connection.close)
        base = f"tocsin/v1/{_SITE}/+"
        waiting = connection.subscribe(
            [f"{base}/{Branch.ALERT}/+", f"{base}/{Branch.TECHNICAL}/+", f"{base}/{Branch.HEALTH}"]
        )
        while waiting not in connection.step(1.0).subscribed:
            pass
        config = own / "gateway.toml"
        config.write_text(_configuration(folder, own, port, devices), encoding="utf-8")
        command = [sys.executable, "-c", "from tocsin_agent.cli import main; main()", "run"]
        process = subprocess.Popen(
            [*command, "--config", str(config)],
            env=dict(os.environ),
            cwd=own,
        )
        stack.callback(_end, process)
        yield _Run(process, connection, devices)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _configuration(folder: Path, own: Path, port: int, devices: list[str]) -> str:
    tables = "".join(
        f'[[patient]]\ndevice = "{device}"\n'
        f'source = {{ uri = "{folder / device}", speed = "max", block_s = 15 }}\n'
        for device in devices
    )
    return (
        f'site = "{_SITE}"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\nhealth_s = 0.5\n'
        f'[outbox]\npath = "{own}/outbox.db"\n[log]\nlevel = "error"\n{tables}'
    )


def _script(seed: int) -> Script:
    """Return an hour with some alarms; each patient has its own."""
    calm = Segment(seconds=290.0, rate_bpm=60.0 + 5 * (seed % 7))
    return Script(
        name="hour",
        seed=seed,
        segments=(
            Segment(seconds=60.0 + seed),
            Segment(rhythm=ScriptedRhythm.VENTRICULAR_TACHYCARDIA, seconds=12.0),
            calm,
            Segment(seconds=20.0, pattern="NNNNNNNVV"),
            calm,
            Segment(rhythm=ScriptedRhythm.ASYSTOLE, seconds=8.0),
            calm,
            Segment(rhythm=ScriptedRhythm.ATRIAL_FIBRILLATION, seconds=120.0),
            *[calm] * 8,
            Segment(seconds=190.0 - seed),
        ),
    )


def _write_recordings(folder: Path, patients: int, seconds: float) -> None:
    for number in range(patients):
        source = SyntheticSource(_script(number), block_s=60.0)
        counts = np.vstack(list(_blocks(source, min(seconds, _HOUR_S))))
        samples = round(seconds * source.script.rate_hz)
        with (folder / f"ecg-{number}.dat").open("wb") as out:
            left = samples
            while left > 0:
                counts[:left].tofile(out)
                left -= len(counts)
        _write_header(folder, number, source.script, samples)


def _blocks(source: SyntheticSource, seconds: float) -> Iterator[np.ndarray[Any, Any]]:
    with source:
        read = 0.0
        while read < seconds:
            try:
                block = source.read(1.0)
            except EndOfStream:
                return
            if block is not None:
                read += len(block) / block.spec.rate_hz
                yield np.rint(block.samples_mv * _GAIN).astype("<i2")


def _write_header(folder: Path, bed: int, script: Script, samples: int) -> None:
    leads = script.leads
    lines = [f"bed-{bed} {len(leads)} {script.rate_hz:g} {samples} 08:00:00 30/11/2026"]
    lines += [f"ecg-{bed}.dat 16 {_GAIN:g}/mV 16 0 0 0 0 {lead}" for lead in leads]
    (folder / f"bed-{bed}.hea").write_text("\n".join(lines) + "\n", encoding="ascii")


def _same_recording(folder: Path, number: int) -> None:
    """Write the header of a further patient with the samples of the first."""
    text = (folder / "bed-0.hea").read_text(encoding="ascii")
    (folder / f"bed-{number}.hea").write_text(text.replace("bed-0 ", f"bed-{number} "))

"""Beds for the pages of a console: 100 devices that publish what agents publish, 30 of them live.

`python -m support.wall_beds PORT` publishes to a broker until it is ended.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Self

import msgspec
import numpy as np
import paho.mqtt.client as mqtt
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion

from support.factories import make_alert, make_trend
from support.wards import active_alert
from tocsin_agent.messages.active import (
    Active,
    ActiveAlert,
    AlertState,
    MonitorState,
    encode_active,
)
from tocsin_agent.messages.alert import (
    Alert,
    Kind,
    Priority,
    SignalQuality,
    Strip,
    StripBeat,
    encode_alert,
)
from tocsin_agent.messages.topics import Topics
from tocsin_agent.messages.trend import HeartRate, encode_trend
from tocsin_agent.messages.waveform import GAIN_UV, Waveform, WaveformBeat, encode_waveform

RATE_HZ = 250
PIECE = 50  # samples of a waveform message: 0.2 s
LEADS = ("II", "V1")
CYCLE = 10 * RATE_HZ


def _wave(beats: list[tuple[int, str]], lead: int) -> NDArray[np.float64]:
    """Draw ten seconds of an ECG in mV: P, QRS and T of each beat."""
    t = np.arange(CYCLE)
    signal = 0.01 * np.sin(t / 300.0) + 0.008 * np.random.default_rng(lead).standard_normal(CYCLE)
    for at, label in beats:
        wide = label == "V"
        shapes = [(-1.0, 14, 40), (0.35, 30, 90)] if wide else [
            (0.12, 7, -42), (-0.1, 3, -9), (1.05, 3.2, 0), (-0.22, 3, 9), (0.25, 15, 70),
        ]  # fmt: skip
        if wide:
            shapes = [(1.5, 12, 0), (-0.55, 25, 65)]
        for height, width, shift in shapes:
            scale = height * (1.0 if lead == 0 else -0.6)
            signal += scale * np.exp(-0.5 * ((t - at - shift) / width) ** 2)
    return signal


BEATS = [
    (100, "N"), (310, "N"), (520, "N"), (690, "V"), (960, "N"), (1170, "N"), (1380, "N"),
    (1590, "N"), (1760, "V"), (2030, "N"), (2240, "N"), (2430, "N"),
]  # fmt: skip
TACHYCARDIA = [(100 + 90 * i, "V" if i > 12 else "N") for i in range(26)]
QUIET = np.stack([_wave(BEATS, lead) for lead in range(2)], axis=1)
FAST = np.stack([_wave(TACHYCARDIA, lead) for lead in range(2)], axis=1)


def alert_of(site: str, device: str, code: str, priority: Priority, since: datetime) -> Alert:
    """Give an alert with a strip."""
    vt = code == "ventricular_tachycardia"
    samples = FAST if vt else QUIET
    beats = TACHYCARDIA if vt else BEATS
    technical = code in {"lead_off", "battery_low", "source_lost"}
    return msgspec.structs.replace(
        make_alert(
            code=code,
            kind=Kind.TECHNICAL if technical else Kind.PHYSIOLOGICAL,
            priority=priority,
        ),
        alert_id=hashlib.sha256(f"{site}{device}{code}{since}".encode()).hexdigest()[:32],
        site=site,
        device=device,
        onset_at=since,
        detected_at=since + timedelta(seconds=2),
        published_at=datetime.now(UTC),
        location=place(device),
        synthetic=False,
        heart_rate_bpm=None if technical else 167.0,
        text="Ventricular tachycardia: 6 ventricular beats in a row at 167/min." if vt else code,
        strip=None if technical else Strip.encode(
            LEADS, float(RATE_HZ), 0, samples,
            beats=tuple(StripBeat(row, label) for row, label in beats),
            onset_row=1270 if vt else 690,
        ),
    )  # fmt: skip


def place(device: str) -> str:
    """Name where a bed is."""
    return device.replace("bed", "bed ")


class WallBeds:
    """Publishes beds until it is stopped; a context manager.

    Parameters
    ----------
    port : int
    beds, live : int
        How many, and how many of them with two live leads.
    """

    def __init__(self, port: int, beds: int = 100, live: int = 30) -> None:
        self.devices = [(f"ward{1 + i // 25}", f"bed{1 + i:02d}") for i in range(beds)]
        self.live = self.devices[:live]
        self.open: dict[tuple[str, str], list[ActiveAlert]] = {}
        self.gap = False  # leave samples out of the waveforms
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "wall-beds", protocol=mqtt.MQTTv5)
        self._client.connect("127.0.0.1", port)
        self._stop = threading.Event()
        # What is older must not be published after what is newer, by the other thread.
        self._lock = threading.RLock()
        self._thread = threading.Thread(target=self._run, name="beds", daemon=True)

    def __enter__(self) -> Self:
        self._client.loop_start()
        for site, device in self.devices:
            self.publish_active(site, device)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60.0)
        self._client.disconnect()
        self._client.loop_stop()

    def raise_alert(self, site: str, device: str, code: str, priority: Priority) -> Alert:
        """Publish an onset, and that it is open."""
        since = datetime.now(UTC) - timedelta(seconds=3)
        alert = alert_of(site, device, code, priority, since)
        topic = Topics(site, device).level("team", alert.kind, alert.priority)
        self._client.publish(topic, encode_alert(alert), qos=1)
        opened = active_alert(
            alert_id=alert.alert_id,
            code=code,
            kind=alert.kind,
            priority=priority,
            since=alert.onset_at,
            text=alert.text,
            addressed={"team": since},
        )
        with self._lock:
            self.open.setdefault((site, device), []).append(opened)
            self.publish_active(site, device)
        return alert

    def accept(self, site: str, device: str, who: str) -> None:
        """Say that somebody has accepted all that is open at a bed."""
        with self._lock:
            self.open[site, device] = [
                msgspec.structs.replace(
                    alert, state=AlertState.ACKNOWLEDGED, holder=who, accepted_at=datetime.now(UTC)
                )
                for alert in self.open.get((site, device), [])
            ]
            self.publish_active(site, device)

    def clear(self, site: str, device: str) -> None:
        """Say that nothing is open at a bed."""
        with self._lock:
            self.open.pop((site, device), None)
            self.publish_active(site, device)

    def publish_active(self, site: str, device: str, **more: object) -> None:
        """Publish what is active at a bed."""
        with self._lock:
            self._publish_active(site, device, **more)

    def _publish_active(self, site: str, device: str, **more: object) -> None:
        number = int(device[3:])
        fast = any(
            one.code == "ventricular_tachycardia" for one in self.open.get((site, device), [])
        )
        fields: dict[str, object] = {
            "site": site,
            "device": device,
            "at": datetime.now(UTC),
            "monitor": MonitorState.MONITORING,
            "location": place(device),
            "patient": f"p-{4000 + number}",
            "heart_rate_bpm": 167.0 if fast else 58.0 + (number * 7) % 40,
            "signal_quality": SignalQuality({"II": 0.95, "V1": 0.85 if number % 9 else 0.4}, "II"),
            "alerts": tuple(
                sorted(self.open.get((site, device), []), key=lambda one: one.priority.rank)
            ),
        }  # fmt: skip
        if (site, device) in self.live:
            fields["waveforms"] = LEADS
        active = Active(**(fields | more))  # type: ignore[arg-type]
        topic = Topics(site, device).active
        self._client.publish(topic, encode_active(active), qos=1, retain=True)

    def status(self, site: str, device: str, state: str) -> None:
        """Publish that a bed is online, offline or stopped."""
        payload = {"state": state, "site": site, "device": device, "at": datetime.now(UTC)}
        self._client.publish(Topics(site, device).status, msgspec.json.encode(payload), 1, True)

    def trends(self, site: str, device: str, minutes: int) -> None:
        """Publish the minutes of a bed until now."""
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        for number in range(minutes):
            rate = 72.0 + 9.0 * float(np.sin(number / 25.0)) + (number * 7919) % 5
            at = now - timedelta(minutes=minutes - number)
            trend = msgspec.structs.replace(
                make_trend(number), site=site, device=device, from_index=number * 15000,
                to_index=(number + 1) * 15000, from_at=at, to_at=at + timedelta(minutes=1),
                heart_rate_bpm=HeartRate(rate, rate - 6.0, rate + 11.0),
            )  # fmt: skip
            self._client.publish(
                Topics(site, device).trend, encode_trend(trend), qos=1, retain=True
            )

    def _run(self) -> None:
        began = time.monotonic()
        sent = 0
        while not self._stop.wait(0.02):
            due = int((time.monotonic() - began) * RATE_HZ) // PIECE
            while sent < due and not self._stop.is_set():
                if not (self.gap and 10 < sent % 40 < 16):
                    self._waves(sent * PIECE)
                if sent % 5 == 0:  # each bed every 20 s, in turn
                    for site, device in self.devices[(sent // 5) % 20 :: 20]:
                        self.publish_active(site, device)
                sent += 1

    def _waves(self, start: int) -> None:
        at = datetime.now(UTC) - timedelta(seconds=PIECE / RATE_HZ)
        row = start % CYCLE
        for site, device in self.live:
            fast = any(
                one.code == "ventricular_tachycardia" for one in self.open.get((site, device), [])
            )
            samples = (FAST if fast else QUIET)[row : row + PIECE]
            labelled = [
                WaveformBeat(start - row + index, label)
                for index, label in (TACHYCARDIA if fast else BEATS)
                if row - 2 * PIECE <= index < row - PIECE
            ]
            for column, lead in enumerate(LEADS):
                wave = Waveform(
                    site=site, device=device, stream="s", lead=lead, rate_hz=RATE_HZ,
                    start_index=start, at=at, gain_uv=GAIN_UV,
                    samples=Waveform.pack(samples[:, column]), beats=tuple(labelled),
                )  # fmt: skip
                topic = f"{Topics(site, device).base}/waveform/{lead}"
                self._client.publish(topic, encode_waveform(wave))


def demo_alerts(beds: WallBeds) -> None:
    """Raise what a wall shows: two of high priority, three of medium, low ones, two dead beds."""
    beds.raise_alert("ward1", "bed07", "ventricular_tachycardia", Priority.HIGH)
    beds.raise_alert("ward2", "bed31", "asystole", Priority.HIGH)
    beds.raise_alert("ward1", "bed12", "atrial_fibrillation", Priority.MEDIUM)
    beds.raise_alert("ward3", "bed61", "pause", Priority.MEDIUM)
    beds.raise_alert("ward1", "bed07", "couplet", Priority.LOW)
    beds.raise_alert("ward2", "bed40", "bigeminy", Priority.LOW)
    beds.raise_alert("ward4", "bed88", "extreme_bradycardia", Priority.HIGH)
    beds.accept("ward4", "bed88", "dr-k")
    beds.status("ward3", "bed70", "offline")


if __name__ == "__main__":
    with WallBeds(int(sys.argv[1])) as everything:
        demo_alerts(everything)
        threading.Event().wait()

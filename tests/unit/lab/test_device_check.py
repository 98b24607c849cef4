"""Each fault is made on purpose and must be named; a correct stream must pass."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from support.brokers import free_port, until
from support.devices import Sending, TcpEnd, frames_of, hello_for
from tocsin_agent.cli.link import command
from tocsin_agent.lab.device_check import Level, LinkReport, Received, judge
from tocsin_agent.sources.devices.protocol.frames import frame
from tocsin_agent.sources.devices.protocol.packets import Flag, Hello, Lead
from tocsin_agent.sources.devices.protocol.samples import SamplePacket, encode_samples
from tocsin_agent.sources.devices.protocol.session import Session
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.signal import FloatArray

LEADS = ("I", "II", "III")


def patient(seconds: float = 30.0) -> tuple[FloatArray, float]:
    """Return three limb leads that follow Einthoven's law, and their rate."""
    with open_source("synthetic:sinus", leads=("I", "II"), block_s=60.0) as source:
        block = source.read(1.0)
        assert block is not None
        rate_hz = source.spec.rate_hz
        one, two = block.samples_mv[: int(seconds * rate_hz)].T
    return np.stack([one, two, two - one], axis=1), rate_hz


ECG, RATE = patient()


def report_on(
    frames: list[bytes], *, every_s: float | None = None, live: bool = True
) -> LinkReport:
    """Feed frames at the pace of their samples, or another."""
    session, received = Session(), Received(None, Session().statistics, live=live)
    for number, data in enumerate(frames):
        now_s = number * (every_s if every_s is not None else 20 / RATE)
        for piece in session.feed(data, now_s):
            received.pieces.append(piece)
            received.arrivals.append((piece.start_index + len(piece.samples_mv), now_s))
    received.hello, received.statistics = session.hello, session.statistics
    received.seconds = len(frames) * 20 / RATE
    return judge(received)


def hello(**changes: object) -> Hello:
    plain = hello_for(LEADS, rate_hz=RATE, flags=Flag.LISTENS | Flag.RESENDS)
    return replace(plain, lowest=-32000, highest=32000, **changes)  # type: ignore[arg-type]


def wrong(report: LinkReport) -> dict[str, str]:
    return {f.what: f.text for f in report.findings if f.level is Level.WRONG}


def noted(report: LinkReport) -> dict[str, str]:
    return {f.what: f.text for f in report.findings if f.level is Level.NOTE}


def test_a_correct_stream_has_no_findings() -> None:
    report = report_on(frames_of(hello(), ECG))
    assert wrong(report) == {}
    assert noted(report) == {}
    assert report.is_good
    assert report.device == "player"


OFFSET = np.array([0, 159.9, 0])


def changed(change: Callable[[FloatArray], FloatArray]) -> LinkReport:
    return report_on(frames_of(hello(), change(ECG.copy())))


def hum(samples: FloatArray, mv: float, mains_hz: float) -> FloatArray:
    at_s = np.arange(len(samples)) / RATE
    return samples + mv / 2 * np.sin(2 * np.pi * mains_hz * at_s)[:, None]


@pytest.mark.parametrize(
    ("change", "what", "message"),
    [
        (lambda x: x * [-1, 1, 1], "polarity I", "may be inverted"),
        (lambda x: x * [-1, 1, 1], "einthoven", "I is inverted"),
        (lambda x: x[:, [0, 2, 1]], "einthoven", "II and III are swapped"),
        (lambda x: x / 24, "gain II", "too small"),
        (lambda x: x * 24, "gain II", "too large"),
        (lambda x: x * [1, 0, 1], "flat II", "flat"),
        (lambda x: np.minimum(x + OFFSET, 160.0), "saturation II", "converter's range"),
        (lambda x: hum(x, 0.9, 50.0), "mains II", "50 Hz hum"),
        (lambda x: hum(x, 0.9, 60.0), "mains II", "60 Hz hum"),
    ],
)
def test_what_is_wrong_with_the_ecg_is_named(
    change: Callable[[FloatArray], FloatArray], what: str, message: str
) -> None:
    findings = wrong(changed(change))
    assert message in findings[what]


def test_a_little_hum_is_only_noted() -> None:
    report = changed(lambda x: hum(x, 0.1, 50.0))
    assert wrong(report) == {}
    assert "mains II" in noted(report)


def test_a_rate_that_is_off_is_named() -> None:
    report = report_on(frames_of(hello(), ECG), every_s=20 / RATE * 1.024)
    assert "divider" in wrong(report)["rate"]
    report = report_on(frames_of(hello(), ECG), every_s=20 / RATE * (1 + 700e-6))
    assert "crystal" in noted(report)["rate"]


def test_gaps_are_laid_at_the_right_door() -> None:
    frames = frames_of(replace(hello(), flags=0), ECG)
    assert "never arrived" in wrong(report_on(frames[:50] + frames[51:]))["gaps"]
    sent = frames_of(replace(hello(), flags=0), ECG[:1000])
    values = np.zeros((20, 3), np.int32)
    packet = SamplePacket(1, len(sent) - 1, 2000, 0, values)
    assert "itself loses" in wrong(report_on([*sent, frame(encode_samples(packet))]))["gaps"]


def test_corruption_is_counted() -> None:
    frames = frames_of(hello(), ECG)
    for k in range(5, len(frames), 10):
        frames[k] = frames[k][:8] + bytes((frames[k][8] ^ 0x55 or 1,)) + frames[k][9:]
    assert "baud rate" in wrong(report_on(frames))["corruption"]


def test_silence_noise_and_a_missing_hello_are_distinguished() -> None:
    frames = frames_of(hello(), ECG)
    assert "No byte was received" in wrong(report_on([]))["silence"]
    assert "baud rate first" in wrong(report_on([b"\x81\x13\0garbage\0" * 20]))["frames"]
    assert "No hello" in wrong(report_on(frames[1:]))["hello"]
    assert "no samples" in wrong(report_on(frames[:1]))["samples"]
    bad = replace(hello(), leads=(Lead("I", 0),))
    assert "gain is missing" in wrong(report_on([frame(bad.encode())]))["protocol"]


def test_the_command_prints_and_writes_the_report(tmp_path: Path) -> None:
    port, report, capture = free_port(), tmp_path / "report.json", tmp_path / "kept.link"
    data = frames_of(replace(hello(), leads=tuple(Lead(n, 500) for n in LEADS)), ECG)
    senders: list[Sending] = []

    def connect() -> None:
        def there() -> bool:
            try:
                senders.append(Sending(TcpEnd(port), iter(data), 0.001))
            except OSError:
                return False
            return True

        until(there, 60.0, "the port is open")
        senders[0].__enter__()

    connector = threading.Thread(target=connect)
    connector.start()
    arguments = ["check", "--port", f"tcp://127.0.0.1:{port}", "--seconds", "6"]
    more = ["--report", str(report), "--capture", str(capture)]
    done = CliRunner().invoke(command, [*arguments, *more], standalone_mode=False)
    connector.join()
    senders[0].__exit__()
    assert done.return_value == 4, done.output
    assert "too small" in done.output
    document = json.loads(report.read_text())
    assert document["schema"] == "tocsin/link-check/v1"
    assert document["device"] == "player"
    again = CliRunner().invoke(
        command, ["check", "--port", str(capture), "--json"], standalone_mode=False
    )
    assert {f["what"] for f in json.loads(again.output)["findings"]} >= {"gain II", "gaps"}

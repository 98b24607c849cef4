"""Trends from a running agent to a person's screen, over a real broker and from the outbox."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from support.agents import Running
from support.brokers import Mosquitto, Recorder, quick, until
from support.factories import make_trend
from support.programs import PATIENCE_S
from tocsin_agent.cli import ExitCode
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.delivery.trends import read_trends
from tocsin_agent.messages.topics import Branch
from tocsin_agent.messages.trend import decode_trend

pytestmark = pytest.mark.broker


def tocsin(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tocsin_agent", "trend", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def numbers(recorder: Recorder) -> list[int]:
    """Give the minutes that arrived, in order, each once."""
    indices = [decode_trend(p).from_index for p in recorder.payloads(Branch.TREND)]
    return list(dict.fromkeys(index // 21_600 for index in indices))


def test_each_minute_arrives_whatever_the_broker_does(tmp_path: Path, version: str) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    # For the recorder, which may be back later than the publisher.
    listener = "listener {port} 127.0.0.1\nallow_anonymous true\nqueue_qos0_messages true\n"
    mosquitto = Mosquitto(folder, listener)
    mosquitto.start()
    mqtt = quick(mosquitto.port, version)
    with (
        Recorder(mqtt) as recorder,
        Outbox(tmp_path / "o.db") as outbox,
        Publisher(outbox, mqtt, site="ward3", device="bed7") as publisher,
    ):
        assert outbox.trends is not None
        outbox.trends.append([make_trend(n) for n in range(3)])
        publisher.wake()
        until(lambda: numbers(recorder) == [0, 1, 2])
        mosquitto.kill()
        outbox.trends.append([make_trend(n) for n in range(3, 6)])
        mosquitto.start()
        until(lambda: set(numbers(recorder)) == set(range(6)))

        where = f"127.0.0.1:{mosquitto.port}"
        shown = tocsin("--broker", where, "--mqtt-version", version, "--count", "1", "--json")
        assert shown.returncode == ExitCode.OK, shown.stderr
        assert json.loads(shown.stdout)["from_index"] == make_trend(5).from_index
        drawn = tocsin("--outbox", str(outbox.path))
        assert drawn.returncode == ExitCode.OK, drawn.stderr
        assert "heart rate, /min" in drawn.stdout
    mosquitto.stop()


def test_a_recording_leaves_its_trends_in_the_outbox(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Running(tmp_path, mosquitto.port, speed='"max"') as agent:
        assert agent.ended() == ExitCode.OK, agent.log_text()
    kept = read_trends(agent.outbox)
    assert len(kept) >= 5
    assert all(a.to_at == b.from_at for a, b in pairwise(kept))
    as_json = tocsin("--outbox", str(agent.outbox), "--json")
    assert len(as_json.stdout.splitlines()) == len(kept)


def test_a_missing_outbox_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    failed = tocsin("--outbox", str(tmp_path / "none.db"))
    assert failed.returncode == ExitCode.DELIVERY
    assert "outbox.path" in failed.stderr


def test_without_a_trend_in_time_the_exit_code_says_so(mosquitto: Mosquitto) -> None:
    waited = tocsin("--broker", f"127.0.0.1:{mosquitto.port}", "--count", "1", "--timeout", "0.5")
    assert waited.returncode == ExitCode.DELIVERY

"""`tocsin run` as a process, with a configuration, a broker and signals."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import msgspec
import pytest

from support.agents import Running, keys, replayed
from support.brokers import Mosquitto, Recorder, free_port, quick, until
from tocsin_agent.cli import ExitCode
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.messages.topics import Branch

pytestmark = pytest.mark.broker


def states(recorder: Recorder) -> list[str]:
    return [msgspec.json.decode(payload)["state"] for payload in recorder.payloads(Branch.STATUS)]


def test_a_recording_is_delivered_and_the_agent_ends(
    tmp_path: Path, mosquitto: Mosquitto, version: str
) -> None:
    with Recorder(quick(mosquitto.port, version)) as recorder:
        with Running(tmp_path, mosquitto.port, speed='"max"', version=version) as agent:
            assert agent.ended() == ExitCode.OK, agent.log_text()
        until(lambda: states(recorder)[-1:] == ["stopped"], 60.0, "its status is `stopped`")
    expected = replayed("excerpt")
    assert sorted(keys(recorder.team())) == sorted(keys(expected))
    info = msgspec.json.decode(recorder.payloads(Branch.INFO)[-1])
    assert info["source"] == "excerpt"
    assert info["models"]
    by_key = {(a.alert_id, a.sequence): a for a in recorder.team()}
    for alert in expected:
        received = by_key[alert.alert_id, alert.sequence]
        strip = alert.strip
        if strip is not None and version == "3.1.1":  # what strips have gained is not sent then
            strip = msgspec.structs.replace(strip, beats=(), onset_row=None)
        assert (received.code, received.text, received.strip) == (alert.code, alert.text, strip)
        assert received.published_at is not None
        assert received.presence is not None


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, ExitCode.OK), (signal.SIGINT, ExitCode.INTERRUPTED)],
)
def test_a_signal_stops_it_cleanly(
    tmp_path: Path, mosquitto: Mosquitto, number: signal.Signals, code: ExitCode
) -> None:
    with (
        Recorder(quick(mosquitto.port)) as recorder,
        Running(tmp_path, mosquitto.port, speed="1.0") as agent,
    ):
        until(lambda: states(recorder) == ["online"], 60.0, "it is online")
        agent.signal(number)
        assert agent.ended() == code, agent.log_text()
        until(lambda: states(recorder) == ["online", "stopped"], 60.0, "its status is `stopped`")
        assert "Traceback" not in agent.log_text()


def test_a_second_signal_ends_it_at_once_and_keeps_the_alerts(tmp_path: Path) -> None:
    with Running(tmp_path, free_port(), speed="200.0") as agent:
        agent.until_pending(2)
        agent.signal(signal.SIGINT)
        time.sleep(0.5)
        assert agent.process.poll() is None, "it tries for 5 s to deliver what waits"

        def ended() -> bool:
            """Two signals that come before a busy process has taken the first are one."""
            agent.signal(signal.SIGINT)
            return agent.process.poll() is not None

        until(ended)
        assert agent.ended() == ExitCode.INTERRUPTED
        assert "for the next start" not in agent.log_text(), "it did not stop in the regular way"
        assert agent.pending() >= 2


def test_a_finished_recording_waits_for_the_broker(tmp_path: Path, mosquitto: Mosquitto) -> None:
    expected = replayed("excerpt")
    mosquitto.stop()
    with Running(tmp_path, mosquitto.port, speed='"max"') as agent:
        agent.until_pending(len(expected))
        time.sleep(0.5)
        assert agent.process.poll() is None
        mosquitto.start()
        with Recorder(quick(mosquitto.port)):
            assert agent.ended() == ExitCode.OK, agent.log_text()
        assert agent.pending() == 0


def test_without_its_model_it_raises_model_failed_and_continues(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    more = f'[model]\npath = "{tmp_path / "none.onnx"}"\n'
    with Recorder(quick(mosquitto.port)) as recorder:
        with Running(tmp_path, mosquitto.port, speed='"max"', more=more) as agent:
            assert agent.ended() == ExitCode.OK, agent.log_text()
        until(lambda: states(recorder)[-1:] == ["stopped"], 60.0, "its status is `stopped`")
    assert "model_failed" in {alert.code for alert in recorder.team()}
    assert "no model at" in agent.log_text()


def test_an_unknown_record_is_reported_in_one_line(tmp_path: Path) -> None:
    with Running(tmp_path, free_port(), uri="mitdb/none") as agent:
        assert agent.ended() == ExitCode.SOURCE
        last = agent.log_text().splitlines()
        assert any(line.startswith("tocsin: ") and "mitdb/none" in line for line in last)
        assert "Traceback" not in agent.log_text()


def test_an_outbox_of_another_process_is_refused(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db"), Running(tmp_path, free_port()) as agent:
        assert agent.ended() == ExitCode.DELIVERY
        assert "belongs to another running process" in agent.log_text()


def test_a_wrong_configuration_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with Running(tmp_path, free_port(), more="[limits]\nasystole = 4\n") as agent:
        assert agent.ended() == ExitCode.CONFIGURATION
        assert "did you mean `limits.asystole_s`?" in agent.log_text()
        assert not agent.outbox.exists()

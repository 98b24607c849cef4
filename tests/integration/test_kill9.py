"""Never lost, never twice: the agent is killed at the worst moment and started again."""

from __future__ import annotations

import signal
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from support.agents import Running, keys, replayed
from support.brokers import Mosquitto, Recorder, quick, until

pytestmark = pytest.mark.broker

URI = "synthetic:all_alarms"
PACED = "100.0"  # nearly nine minutes in five seconds


def received(recorder: Recorder, least: int) -> bool:
    return len(set(keys(recorder.team()))) >= least


@pytest.fixture(scope="module")
def expected() -> Counter[tuple[str, int]]:
    alerts = Counter(keys(replayed(URI)))
    assert len(alerts) >= 20, "enough alerts to be killed between two of them"
    assert set(alerts.values()) == {1}
    return alerts


def test_killed_with_the_broker_down(
    tmp_path: Path,
    mosquitto: Mosquitto,
    version: str,
    expected: Counter[tuple[str, int]],
) -> None:
    """The broker stops, the agent is killed during the replay, both are started again."""
    with Recorder(quick(mosquitto.port, version)) as recorder:
        with Running(tmp_path, mosquitto.port, uri=URI, speed=PACED, version=version) as agent:
            until(recorder.team, what="the first alert arrives")
            mosquitto.stop()
            agent.until_pending(3)
            agent.signal(signal.SIGKILL)
            assert agent.ended() == -signal.SIGKILL
            assert 0 < agent.pending() < len(expected), "it was killed in the middle"
        mosquitto.start()
        with Running(tmp_path, mosquitto.port, uri=URI, speed='"max"', version=version) as agent:
            assert agent.ended() == 0, agent.log_text()
            assert agent.pending() == 0
        until(lambda: set(keys(recorder.team())) >= set(expected), what="all alerts arrive")
    # Keyed on (alert_id, sequence), as every receiver does, each is there once and none is new.
    assert set(keys(recorder.team())) == set(expected)


def test_killed_before_the_broker_starts_nothing_is_sent_twice(
    tmp_path: Path, mosquitto: Mosquitto, version: str, expected: Counter[tuple[str, int]]
) -> None:
    """If no connection broke, each alert is published exactly once."""
    mosquitto.stop()
    with Running(tmp_path, mosquitto.port, uri=URI, speed=PACED, version=version) as agent:
        agent.until_pending(3)
        agent.signal(signal.SIGKILL)
        agent.ended()
    mosquitto.start()
    with Recorder(quick(mosquitto.port, version)) as recorder:
        with Running(tmp_path, mosquitto.port, uri=URI, speed='"max"', version=version) as agent:
            assert agent.ended() == 0, agent.log_text()
        until(lambda: len(recorder.team()) >= len(expected), what="all alerts arrive")
    assert Counter(keys(recorder.team())) == expected


def test_killed_while_it_delivers(
    tmp_path: Path, mosquitto: Mosquitto, version: str, expected: Counter[tuple[str, int]]
) -> None:
    """Killed repeatedly while the broker runs: the receiver gets each key once."""
    with Recorder(quick(mosquitto.port, version)) as recorder:
        for least in (1, 5, 9):
            with Running(tmp_path, mosquitto.port, uri=URI, speed=PACED, version=version) as agent:
                until(partial(received, recorder, least), what="alerts arrive")
                agent.signal(signal.SIGKILL)
                agent.ended()
        with Running(tmp_path, mosquitto.port, uri=URI, speed='"max"', version=version) as agent:
            assert agent.ended() == 0, agent.log_text()
        until(lambda: set(keys(recorder.team())) >= set(expected), what="all alerts arrive")
    assert set(keys(recorder.team())) == set(expected)

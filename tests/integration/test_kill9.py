"""Never lost, never twice: processes die at the worst moment and come back."""

from __future__ import annotations

import signal
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from support.agents import Running, keys, replayed
from support.brokers import Ear, Mosquitto, quick, until

pytestmark = pytest.mark.broker

URI = "synthetic:all_alarms"
PACED = "150.0"  # nearly nine minutes in three and a half seconds


def heard(ear: Ear, least: int) -> bool:
    return len(set(keys(ear.team()))) >= least


@pytest.fixture(scope="module")
def expected() -> Counter[tuple[str, int]]:
    rang = Counter(keys(replayed(URI)))
    assert len(rang) >= 20, "it must ring often enough to die in between"
    assert set(rang.values()) == {1}
    return rang


def test_killed_with_the_broker_down(
    tmp_path: Path,
    mosquitto: Mosquitto,
    version: str,
    expected: Counter[tuple[str, int]],
) -> None:
    """The broker goes, the agent is killed in the middle of the replay, both come back."""
    with Ear(quick(mosquitto.port, version)) as ear:
        with Running(tmp_path, mosquitto.port, uri=URI, speed=PACED, version=version) as agent:
            until(ear.team, 20.0, "the first alert arrives")
            mosquitto.stop()
            agent.until_pending(3)
            agent.signal(signal.SIGKILL)
            assert agent.ended() == -signal.SIGKILL
            assert 0 < agent.pending() < len(expected), "it died in the middle"
        mosquitto.start()
        with Running(tmp_path, mosquitto.port, uri=URI, speed='"max"', version=version) as agent:
            assert agent.ended() == 0, agent.log_text()
            assert agent.pending() == 0
        until(lambda: set(keys(ear.team())) >= set(expected), 5.0, "all alerts arrive")
    # Keyed on (alert_id, sequence), as every receiver does, each is there once and none is new.
    assert set(keys(ear.team())) == set(expected)


def test_killed_before_the_broker_ever_came_nothing_is_sent_twice(
    tmp_path: Path, mosquitto: Mosquitto, version: str, expected: Counter[tuple[str, int]]
) -> None:
    """Where no connection broke, each alert crosses the wire exactly once."""
    mosquitto.stop()
    with Running(tmp_path, mosquitto.port, uri=URI, speed=PACED, version=version) as agent:
        agent.until_pending(3)
        agent.signal(signal.SIGKILL)
        agent.ended()
    mosquitto.start()
    with Ear(quick(mosquitto.port, version)) as ear:
        with Running(tmp_path, mosquitto.port, uri=URI, speed='"max"', version=version) as agent:
            assert agent.ended() == 0, agent.log_text()
        until(lambda: len(ear.team()) >= len(expected), 5.0, "all alerts arrive")
    assert Counter(keys(ear.team())) == expected


def test_killed_while_it_delivers(
    tmp_path: Path, mosquitto: Mosquitto, version: str, expected: Counter[tuple[str, int]]
) -> None:
    """Killed again and again with the broker up: the receiver still sees each once."""
    with Ear(quick(mosquitto.port, version)) as ear:
        for least in (1, 5, 9):
            with Running(tmp_path, mosquitto.port, uri=URI, speed=PACED, version=version) as agent:
                until(partial(heard, ear, least), 20.0, "alerts come")
                agent.signal(signal.SIGKILL)
                agent.ended()
        with Running(tmp_path, mosquitto.port, uri=URI, speed='"max"', version=version) as agent:
            assert agent.ended() == 0, agent.log_text()
        until(lambda: set(keys(ear.team())) >= set(expected), 5.0, "all alerts arrive")
    assert set(keys(ear.team())) == set(expected)

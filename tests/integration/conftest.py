"""A real mosquitto for each test that asks for one, and both versions of MQTT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.brokers import Mosquitto, quick
from tocsin_agent.mqtt.settings import MqttSettings


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Mosquitto(folder)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(params=["5", "3.1.1"])
def version(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
def mqtt(mosquitto: Mosquitto, version: str) -> MqttSettings:
    return quick(mosquitto.port, version)

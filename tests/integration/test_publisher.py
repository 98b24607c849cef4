"""Delivery through a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokers import Ear, until
from factories import make_alert, make_episode
from tocsin_agent.alert import Kind, Priority
from tocsin_agent.mqtt import MqttSettings
from tocsin_agent.outbox import Outbox
from tocsin_agent.publisher import Publisher
from tocsin_agent.topics import Branch

pytestmark = pytest.mark.broker


def test_alerts_reach_the_team_by_kind_and_priority(tmp_path: Path, mqtt: MqttSettings) -> None:
    with (
        Ear(mqtt) as ear,
        Outbox(tmp_path / "o.db") as outbox,
        Publisher(outbox, mqtt, site="ward3", device="bed7", info={"version": "1"}) as publisher,
    ):
        outbox.append(list(make_episode()))
        outbox.append([make_alert(code="lead_off", kind=Kind.TECHNICAL, priority=Priority.LOW)])
        assert publisher.drained(5.0)
        until(lambda: len(ear.team()) == 4)
        topics = [m.topic for m in ear.messages if "/alert/" in m.topic or "/technical" in m.topic]
        assert topics == ["tocsin/v1/ward3/bed7/alert/high"] * 3 + [
            "tocsin/v1/ward3/bed7/technical/low"
        ]
        assert [a.sequence for a in ear.team()] == [1, 2, 3, 1]
        for alert in ear.team():
            assert alert.published_at is not None
            assert alert.presence is not None
            assert alert.presence.reason == "none"
        assert ear.payloads(Branch.INFO) == [b'{"version":"1"}']

"""A full disk delays no alarm."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.brokers import Recorder, until
from support.factories import make_alert, make_strip
from tocsin_agent.delivery.committer import Committer
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.mqtt.settings import MqttSettings

pytestmark = pytest.mark.broker


def test_alerts_are_sent_from_memory_and_committed_when_there_is_room(
    tmp_path: Path, mqtt: MqttSettings
) -> None:
    alerts = [make_alert(n, strip=make_strip(10)) for n in range(12)]
    with Recorder(mqtt) as recorder, Outbox(tmp_path / "outbox.db") as outbox:
        now_s = [0.0]
        publisher = Publisher(outbox, mqtt, site="ward3", device="bed7")
        committer = Committer(outbox, publisher.wake, monotonic=lambda: now_s[0])
        pages = outbox._database._db.execute("PRAGMA page_count").fetchone()[0]
        outbox._database._db.execute(f"PRAGMA max_page_count = {pages + 4}")
        with publisher:
            committer.commit(alerts)
            assert committer.held == len(alerts), "the disk is full"
            until(
                lambda: len(recorder.team()) == len(alerts),
                what="they arrive although the disk is full",
            )
            until(lambda: outbox.pending() == 0, what="their acknowledgements are noted")

            outbox._database._db.execute("PRAGMA max_page_count = 1000000")
            now_s[0] = 5.0
            committer.retry()
            assert committer.held == 0
            assert outbox.pending() == 0, "nothing is sent a second time"
    assert sorted(alert.alert_id for alert in recorder.team()) == sorted(a.alert_id for a in alerts)
    with Outbox(tmp_path / "outbox.db") as outbox:
        assert outbox.append(alerts) == 0, "their keys are on disk"

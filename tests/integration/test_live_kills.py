"""Killed again and again while a device sends: every episode ends, and has one id.

The suite kills twice. The campaign, which prints what it counted:
`LIVE_KILLS=60 pytest -rP tests/integration/test_live_kills.py`.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from support.agents import Running
from support.brokers import Mosquitto, Recorder, free_port, quick, until
from support.live_device import LiveDevice
from support.programs import claimed_s
from tocsin_agent.delivery.audit import Entry, read_audit
from tocsin_agent.messages.alert import Alert, Phase, Priority, decode_alert
from tocsin_agent.messages.status import decode_status

pytestmark = pytest.mark.broker

KILLS = int(os.environ.get("LIVE_KILLS", "2"))
BRIEF = KILLS < 10  # leaves out the conditions that are held for a minute after their end
CHAIN_S = {"team": 6.0, "second-team": 6.0}
# Of the script: tachycardia; in the campaign runs and fibrillation too.
WATCHED_S = (168.0, 190.0) if BRIEF else (168.0, 240.0)
CHAIN = """
[escalation]
levels = [["bedside", 4.0], ["team", 6.0], ["second-team", 6.0], ["all", 0.0]]
repeat_s = 5.0
"""
PACED = "[patient]\npaced = true\n"


def test_every_episode_ends_and_has_one_id(tmp_path: Path, mosquitto: Mosquitto) -> None:
    chance = random.Random(1)
    port = free_port()
    down: list[tuple[float, float]] = []  # when no agent ran, in seconds of UTC
    with (
        Recorder(quick(mosquitto.port)) as recorder,
        LiveDevice(port, "synthetic:all_alarms", WATCHED_S) as device,
    ):
        for kill in range(KILLS + 1):
            began_s, before = time.time(), online(recorder)
            with Running(
                tmp_path,
                mosquitto.port,
                uri=f"tcp://127.0.0.1:{port}",
                more=CHAIN + (PACED if BRIEF else ""),
                repeats=True,
            ) as agent:
                until(partial(came_online, recorder, before), what="the agent is online")
                down.append((down.pop()[0] if down else began_s, time.time()))
                if kill < KILLS:
                    time.sleep(chance.uniform(5.0, 9.0 if BRIEF else 14.0))
                    agent.signal(signal.SIGKILL)
                    agent.ended()
                    down.append((time.time(), time.time()))
                    continue
                until(lambda: len(documents(agent.outbox)) >= 3, what="alarms have come")
                device.stopped_alarming.set()
                until(lambda: not left_open(agent.outbox), what="every episode has ended")
                agent.signal(signal.SIGTERM)
                assert agent.ended() == 0
    committed = documents(agent.outbox)
    assert len({alert.alert_id for alert in committed}) >= (1 if BRIEF else 2)
    assert_one_id_at_a_time(committed)
    late = lateness(list(read_audit(agent.outbox)), committed, down)
    assert late
    for level, late_s, asleep_s in late:
        assert -2.0 <= late_s <= claimed_s(2.0) + asleep_s, (level, late_s, asleep_s)
    print(  # noqa: T201
        f"{KILLS} kills, {len(committed)} documents of "
        f"{len({alert.alert_id for alert in committed})} episodes, {len(late)} levels addressed "
        f"{min(one[1] for one in late):+.2f} s to {max(one[1] - one[2] for one in late):+.2f} s "
        "from their time, but for the time without an agent"
    )


def online(recorder: Recorder) -> int:
    return sum(
        decode_status(message.payload).state == "online"
        for message in list(recorder.messages)
        if message.topic.endswith("/status")
    )


def came_online(recorder: Recorder, before: int) -> bool:
    return online(recorder) > before


def documents(outbox: Path) -> list[Alert]:
    return [decode_alert(e.document) for e in read_audit(outbox) if e.event == "committed"]


def left_open(outbox: Path) -> list[str]:
    db = sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)
    try:
        query = "SELECT alert_id FROM alert GROUP BY alert_id HAVING NOT MAX(phase = 'end')"
        return [row[0] for row in db.execute(query)]
    finally:
        db.close()


def assert_one_id_at_a_time(committed: list[Alert]) -> None:
    """No condition is open under two ids, none begins twice, none goes on after its end."""
    open_: dict[tuple[str, object], str] = {}
    begun: set[str] = set()
    for alert in committed:
        condition = (
            alert.code,
            alert.evidence.measured.get("lead") if alert.kind == "technical" else "",
        )
        if alert.phase is Phase.ONSET:
            assert condition not in open_, f"a second id for {condition}"
            assert alert.alert_id not in begun
            begun.add(alert.alert_id)
            open_[condition] = alert.alert_id
        else:
            assert alert.alert_id in open_.values(), (
                f"{alert.code} {alert.phase} of a closed episode"
            )
        if alert.phase is Phase.END:
            open_ = {key: value for key, value in open_.items() if value != alert.alert_id}
    assert open_ == {}


def lateness(
    entries: list[Entry], committed: list[Alert], down: list[tuple[float, float]]
) -> list[tuple[str, float, float]]:
    """Return for each level that was addressed how late, and how long no agent ran meanwhile."""
    high = {a.alert_id for a in committed if a.priority is Priority.HIGH}
    addressed: dict[str, list[tuple[str, datetime]]] = {}
    began: dict[str, datetime] = {}
    for entry in entries:
        if entry.event == "committed" and entry.alert_id in high:
            began.setdefault(str(entry.alert_id), entry.at)
        if entry.event == "addressed" and entry.alert_id in high:
            addressed.setdefault(str(entry.alert_id), []).append((str(entry.level), entry.at))
    late = []
    for alert_id, levels in addressed.items():
        assert levels[0][0] == "team"
        due = began[alert_id]
        for level, at in levels[1:]:
            due += timedelta(seconds=CHAIN_S[{"second-team": "team", "all": "second-team"}[level]])
            late_s = (at - due).total_seconds()
            asleep_s = sum(
                max(0.0, min(to, at.timestamp()) - max(since, due.timestamp()))
                for since, to in down
            )
            late.append((level, late_s, asleep_s))
    return late

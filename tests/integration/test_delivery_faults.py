"""What a person sees when keeping or delivering alerts fails, with a real agent and broker."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from pathlib import Path

import pytest

from support.agents import Running
from support.brokers import Mosquitto, Recorder, quick, until
from support.factories import make_alert
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.messages.active import decode_active
from tocsin_agent.messages.alert import Alert, Phase
from tocsin_agent.messages.status import decode_status
from tocsin_agent.messages.topics import Branch

pytestmark = pytest.mark.broker


def raised(recorder: Recorder, code: str, fault: str) -> list[Alert]:
    return [
        alert
        for alert in recorder.alerts(Branch.TECHNICAL)
        if alert.code == code and alert.evidence.measured["fault"] == fault
    ]


def last_status(recorder: Recorder) -> tuple[str, tuple[str, ...]]:
    last = decode_status(recorder.payloads(Branch.STATUS)[-1])
    return last.state, last.faults


def shown(recorder: Recorder, words: str) -> bool:
    """Return whether status and `active` both state something now."""
    states = [decode_status(payload).faults for payload in recorder.payloads(Branch.STATUS)]
    actives = [decode_active(payload).faults for payload in recorder.payloads(Branch.ACTIVE)]
    return any(words in " ".join(faults) for faults in states) and any(
        words in " ".join(faults) for faults in actives
    )


def test_row_3_a_disk_that_cannot_be_written_is_raised_and_its_end_too(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    disk = tmp_path / "disk"
    disk.touch()  # where its folder should be
    with Recorder(quick(mosquitto.port)) as recorder:
        agent = Running(tmp_path, mosquitto.port, speed="5.0", outbox=disk / "outbox.db")
        with agent:
            until(lambda: raised(recorder, "outbox_failed", "disk"), what="it is raised")
            until(lambda: shown(recorder, "held in memory"), what="status and active state it")
            assert "power cut" in raised(recorder, "outbox_failed", "disk")[0].text
            disk.unlink()
            until(
                lambda: raised(recorder, "outbox_failed", "disk")[-1].phase is Phase.END,
                what="it ends",
            )
            until(lambda: last_status(recorder) == ("online", ()), what="the status, too")
            agent.signal(signal.SIGTERM)
            assert agent.ended() == 0, agent.log_text()
    with contextlib.closing(sqlite3.connect(disk / "outbox.db")) as db:
        found = db.execute("SELECT COUNT(*) FROM alert WHERE code = 'outbox_failed'").fetchone()
    assert found[0] >= 2, "what memory held is on the disk"


@pytest.mark.parametrize("damage", ["row", "file"])
def test_rows_1_and_2_damage_is_raised_and_the_rest_is_sent(
    tmp_path: Path, mosquitto: Mosquitto, damage: str
) -> None:
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        outbox.append([make_alert(n) for n in range(50)])
    if damage == "row":
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE alert SET document = X'7b' WHERE created = 3")
            db.commit()
    else:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    with (
        Recorder(quick(mosquitto.port)) as recorder,
        Running(tmp_path, mosquitto.port, speed="5.0") as agent,
    ):
        until(lambda: raised(recorder, "outbox_failed", "rows"), what="the loss is raised")
        lost = int(raised(recorder, "outbox_failed", "rows")[0].text.split(": ")[1].split(" ")[0])
        until(lambda: agent.pending() == 0, what="everything is sent")

        def kept() -> int:
            arrived = {alert.alert_id for alert in recorder.team()}
            return sum(make_alert(n).alert_id in arrived for n in range(50))

        until(lambda: kept() + lost >= 50, what="it arrives")
        assert 0 < kept() < 50
        assert damage == "file" or kept() + lost == 50

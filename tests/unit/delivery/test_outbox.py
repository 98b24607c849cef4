"""The outbox on a real disk: what a restart keeps, and everything that can go wrong with a file.

What it shares with other stores is in `tests/contract/test_stores.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from support.factories import NOON, make_alert, make_episode, make_strip
from support.programs import child_environment
from tocsin_agent.delivery.audit import prune, read_audit
from tocsin_agent.delivery.database import OUTBOX_FORMAT
from tocsin_agent.delivery.desk import AnswerDesk
from tocsin_agent.delivery.escalation import Escalation
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.settings import AuditSettings, OutboxSettings
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.alert import (
    Alert,
    Audience,
    Key,
    Kind,
    Phase,
    Priority,
    decode_alert,
    encode_alert,
)


def keys(outbox: Outbox) -> list[Key]:
    return [row.key for row in outbox.waiting(10_000)]


def deliver(outbox: Outbox, alerts: list[Alert], audience: Audience = Audience.TEAM) -> None:
    outbox.mark_delivered([(alert.key, audience) for alert in alerts])


def test_a_restart_keeps_alerts_and_the_keys_of_delivered_ones(tmp_path: Path) -> None:
    alert = make_alert(strip=make_strip())
    with Outbox(tmp_path / "a" / "b" / "o.db") as outbox:
        assert outbox.append([alert, alert]) == 1
        assert outbox.append([alert]) == 0
    with Outbox(tmp_path / "a" / "b" / "o.db") as outbox:
        assert outbox.append([alert]) == 0
        (row,) = outbox.waiting(10)
        assert decode_alert(row.document) == alert
        assert (row.kind, row.priority) == (Kind.PHYSIOLOGICAL, Priority.HIGH)
        deliver(outbox, [alert])
        assert outbox.pending() == 0
    with Outbox(tmp_path / "a" / "b" / "o.db") as outbox:
        assert outbox.append([alert]) == 0
        assert outbox.pending() == 0


def test_a_folder_gets_a_file(tmp_path: Path) -> None:
    with Outbox(tmp_path) as outbox:
        assert outbox.path == tmp_path / "outbox.db"
    with Outbox.from_settings(OutboxSettings(path=str(tmp_path), max_pending=3)) as outbox:
        assert outbox.max_pending == 3


def test_the_count_of_removed_alerts_survives_a_restart_and_is_no_pressure(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o.db", max_pending=5) as outbox:
        outbox.append([make_alert(1, priority=Priority.LOW)])
        outbox.append([make_alert(n) for n in range(10, 15)])
        assert (outbox.dropped(), outbox.pressure().pressed) == (1, True)
        deliver(outbox, [make_alert(n) for n in range(10, 15)])
    with Outbox(tmp_path / "o.db", max_pending=5) as outbox:
        assert (outbox.dropped(), outbox.pressure().pressed) == (1, False)


def test_a_full_outbox_says_what_to_do(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o.db", max_pending=1) as outbox:
        outbox.append([make_alert(1)])
        with pytest.raises(DeliveryError, match=r"raise outbox\.max_pending"):
            outbox.append([make_alert(2)])


def test_delivered_keys_are_remembered_up_to_a_limit_and_documents_are_not(tmp_path: Path) -> None:
    alerts = [make_alert(n, phase=Phase.END) for n in range(600)]
    with Outbox(tmp_path / "o.db", keep_delivered=300) as outbox:
        outbox.append(alerts)
        for alert in alerts:
            deliver(outbox, [alert])
        with sqlite3.connect(tmp_path / "o.db") as peek:
            rows, documents = peek.execute("SELECT COUNT(*), COUNT(document) FROM alert").fetchone()
        peek.close()
        assert 300 <= rows < 600
        assert documents == 0
        assert outbox.append(alerts[-300:]) == 0
        assert outbox.append(alerts[:1]) == 1


def test_a_hand_over_survives_a_restart(tmp_path: Path) -> None:
    open_one = list(make_episode(1, updates=3, ended=False))
    closed = list(make_episode(2, updates=1))
    with Outbox(tmp_path / "o.db") as outbox:
        outbox.append(open_one + closed)
        deliver(outbox, open_one + closed, Audience.BEDSIDE)
        assert [a.alert_id for a in outbox.open_documents()] == [open_one[0].alert_id]
        assert outbox.hand_over() == 2
        rows = outbox.waiting(10)
        assert [row.key for row in rows] == [open_one[0].key, open_one[-1].key]
        assert all(row.handover for row in rows)
        assert outbox.hand_over() == 0
    with Outbox(tmp_path / "o.db") as outbox:
        assert keys(outbox) == [open_one[0].key, open_one[-1].key]
        deliver(outbox, [open_one[0], open_one[-1]])
        assert outbox.hand_over() == 0
        assert outbox.pending() == 0


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    script = (
        "import sys; from pathlib import Path; from tocsin_agent.delivery.outbox import Outbox\n"
        "from tocsin_agent.errors import DeliveryError\n"
        "try: Outbox(Path(sys.argv[1]))\n"
        "except DeliveryError as error: print(error.reason, error)"
    )
    with Outbox(path):
        answer = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
        )
        assert answer.stdout.startswith("outbox_locked")
        assert "another running process" in answer.stdout
    with Outbox(path) as outbox:
        assert outbox.pending() == 0


def fill(path: Path, count: int) -> list[Alert]:
    alerts = [make_alert(n, strip=make_strip(2)) for n in range(count)]
    with Outbox(path) as outbox:
        outbox.append(alerts)
    return alerts


@pytest.mark.parametrize("damage", [b"not a database, not at all", b""])
def test_a_file_that_is_no_database_is_moved_aside(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "o.db"
    path.write_bytes(damage * 100)
    with Outbox(path) as outbox:
        if damage:
            assert outbox.recovered_from is not None
            assert outbox.recovered_from.read_bytes() == damage * 100
        else:
            assert outbox.recovered_from is None
        assert outbox.append([make_alert()]) == 1


def test_the_readable_rows_of_a_damaged_database_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    alerts = fill(path, 60)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 8192] = b"\xff" * 8192
    path.write_bytes(data)
    with Outbox(path) as outbox:
        assert outbox.recovered_from is not None
        assert 0 < outbox.pending() < len(alerts)
        outbox.append(alerts)
        assert outbox.pending() == len(alerts)


def test_a_database_damaged_while_it_is_open_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    fill(path, 60)
    with Outbox(path) as outbox:
        with path.open("r+b") as raw:
            raw.seek(4096)
            raw.write(b"\xff" * (path.stat().st_size - 4096))
        outbox._database._db.execute("PRAGMA shrink_memory")  # else the cache hides the damage
        new = make_alert(10_000)
        assert outbox.append([new]) == 1
        assert outbox.recovered_from is not None
        assert new.key in keys(outbox)


def test_a_foreign_database_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE alert (something INTEGER)")
    other.close()
    with Outbox(path) as outbox:
        assert outbox.recovered_from is not None
        assert outbox.append([make_alert()]) == 1


def test_a_full_disk_writes_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o.db") as outbox:
        pages = outbox._database._db.execute("PRAGMA page_count").fetchone()[0]
        outbox._database._db.execute(f"PRAGMA max_page_count = {pages + 4}")
        alerts = [make_alert(n, strip=make_strip(10)) for n in range(10)]
        with pytest.raises(DeliveryError, match="disk is full") as caught:
            outbox.append(alerts)
        assert caught.value.reason is DeliveryFault.OUTBOX_FULL
        assert outbox.pending() == 0
        outbox._database._db.execute("PRAGMA max_page_count = 1000000")
        assert outbox.append(alerts) == 10


def test_an_unwritable_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeliveryError, match=r"outbox\.path") as caught:
        Outbox(tmp_path / "file" / "o.db")
    assert caught.value.reason is DeliveryFault.OUTBOX_UNWRITABLE


def test_threads_may_share_it(tmp_path: Path) -> None:
    indices = itertools.count()

    def work() -> None:
        for _ in range(20):
            alert = make_alert(next(indices))
            outbox.append([alert])
            deliver(outbox, [alert])

    with Outbox(tmp_path / "o.db") as outbox:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outbox.pending() == 0
        assert outbox.append([make_alert(n) for n in range(80)]) == 0


def test_a_killed_writer_leaves_whole_transactions(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    script = (
        "import os, sys; from pathlib import Path\n"
        "from support.factories import make_alert\n"
        "from tocsin_agent.delivery.outbox import Outbox\n"
        "outbox = Outbox(Path(sys.argv[1])); n = 0\n"
        "while True:\n"
        "    outbox.append([make_alert(n), make_alert(n, 2)]); n += 1\n"
        "    print(n, flush=True)"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
    )
    assert writer.stdout is not None
    written = 0
    while written < 20:
        written = int(writer.stdout.readline())
    writer.kill()
    written = int((writer.stdout.read().split("\n")[-2:-1] or [str(written)])[0] or written)
    writer.stdout.close()
    writer.wait()
    with Outbox(path) as outbox:
        assert outbox.recovered_from is None
        assert outbox.pending() >= 2 * written
        assert outbox.pending() % 2 == 0


def test_row_19_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    path.touch(0o644)
    with Outbox(path) as outbox:
        outbox.append([make_alert(1)])
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes


_FIRST_VERSION = """
CREATE TABLE alert (
    created  INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    phase    TEXT NOT NULL,
    kind     TEXT NOT NULL,
    code     TEXT NOT NULL,
    priority TEXT NOT NULL,
    rank     INTEGER NOT NULL,
    pending  INTEGER NOT NULL DEFAULT 1,
    handover INTEGER NOT NULL DEFAULT 0,
    team     INTEGER NOT NULL DEFAULT 0,
    bedside  INTEGER NOT NULL DEFAULT 0,
    document BLOB,
    UNIQUE (alert_id, sequence)
);
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


def test_an_outbox_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    """As 0.1.0 wrote it: its alerts wait, and those that are open can be answered."""
    path = tmp_path / "o.db"
    db = sqlite3.connect(path)
    db.executescript(_FIRST_VERSION)
    alert = make_alert()
    db.execute(
        "INSERT INTO alert (alert_id, sequence, phase, kind, code, priority, rank, document) "
        "VALUES (?, 1, 'onset', 'physiological', ?, 'high', 0, ?)",
        (alert.alert_id, alert.code, encode_alert(alert)),
    )
    db.commit()
    db.close()
    for _ in range(2):
        with Outbox(path) as outbox:
            assert outbox.recovered_from is None
            assert keys(outbox) == [alert.key]
            desk = AnswerDesk(outbox.answers, Escalation())
            desk.take_in(NOON, attended=False, steady_s=0.0)
            assert [one.alert_id for one in desk.active()] == [alert.alert_id]


def test_the_states_and_the_trail_of_a_damaged_database_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with Outbox(path) as outbox:
        outbox.append([make_alert()])
        AnswerDesk(outbox.answers, Escalation()).take_in(NOON, attended=False, steady_s=0.0)
        outbox._database._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        outbox._database._recover(sqlite3.DatabaseError("damaged"))
    with Outbox(path) as outbox:
        assert len(outbox.answers.load()) == 1
    assert [entry.event for entry in read_audit(path)][:2] == ["committed", "began"]


def test_the_audit_trail_is_append_only_and_bounded(tmp_path: Path) -> None:
    path, now = tmp_path / "o.db", NOON
    settings = AuditSettings(keep_days=2, max_mb=0.05)
    with Outbox(path, audit=settings, utc=lambda: now) as outbox:
        outbox.append([make_alert(1)])
        with pytest.raises(DeliveryError, match="append-only"):
            outbox._database.write(lambda db: db.execute("UPDATE audit SET who = 'nobody'"))
        now += timedelta(days=3)
        outbox.append([make_alert(n) for n in range(2, 90)])
        outbox._database.write(lambda db: prune(db, settings, now))
        entries = list(read_audit(path))
        assert all(entry.at == now for entry in entries), "the oldest are gone"
        kept = [entry for entry in entries if entry.document]
        assert 0 < len(kept) < len(entries), "of the others the oldest documents"
        assert entries[-1].document


@pytest.mark.parametrize(
    "damage",
    [
        "kind = 'physioLogical'",
        "priority = 'hIgh'",
        "sequence = 9",
        "alert_id = 'x' || char(10) || 'y'",
        "document = X'7b'",
        "document = NULL",
        "document = CAST(replace(CAST(document AS TEXT), 'bed7', 'bed8') AS BLOB)",
    ],
)
def test_rows_1_and_2_a_damaged_row_is_set_aside_and_the_rest_goes_out(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "o.db"
    alerts = [make_alert(n) for n in range(1, 6)]
    with Outbox(path) as outbox:
        outbox.append(alerts)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE alert SET {damage} WHERE created = 3")  # noqa: S608
        db.commit()
    with Outbox(path) as outbox:
        keys = [row.key for row in outbox.waiting(10)]
        rest = [alert.key for alert in alerts if alert is not alerts[2]]
        assert [key for key in keys if key in rest] == rest
        if keys == rest:
            assert outbox.damaged() == 1
            assert "row 3 of the outbox is damaged" in caplog.text
        else:  # the document states kind and priority, too
            assert keys == [alert.key for alert in alerts]
            assert outbox.damaged() == 0
        assert all(text.isprintable() for text in caplog.messages)
        outbox.append([make_alert(6)])
        assert make_alert(6).key in [row.key for row in outbox.waiting(10)]


def test_row_3_without_a_usable_disk_alerts_wait_in_memory_and_reach_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk" / "o.db"
    with Outbox(path) as outbox:
        outbox.append([make_alert(1)])
    (tmp_path / "disk").rename(tmp_path / "away")
    (tmp_path / "disk").touch()  # no folder can be made here
    settings = OutboxSettings(path=str(path))
    with pytest.raises(DeliveryError):
        Outbox(path)
    now_s = [1000.0]
    monkeypatch.setattr("tocsin_agent.delivery.database.time.monotonic", lambda: now_s[0])
    with Outbox.from_settings(settings) as outbox:
        assert "cannot be written" in outbox.failure
        outbox.append([make_alert(2), make_alert(3)])
        outbox.mark_delivered([(make_alert(2).key, Audience.TEAM)])
        assert [row.key for row in outbox.waiting(9)] == [make_alert(3).key]
        (tmp_path / "disk").unlink()
        (tmp_path / "away").rename(tmp_path / "disk")
        assert outbox.pending() == 1
        now_s[0] += 6.0
        assert outbox.pending() == 2
        assert outbox.failure == ""
        assert {row.key for row in outbox.waiting(9)} == {make_alert(1).key, make_alert(3).key}
    with Outbox(path) as outbox:
        assert outbox.append([make_alert(2), make_alert(3)]) == 0


def subjects(outbox: Outbox) -> list[str]:
    return [fault.subject for fault in outbox.faults()]


@pytest.mark.parametrize("waits", [True, False])
def test_row_2_a_file_that_was_cut_is_salvaged_and_the_loss_is_raised(
    tmp_path: Path, waits: bool
) -> None:
    """A page in the middle and the end of the file are gone: the rest is kept, the loss counted."""
    path = tmp_path / "o.db"
    alerts = [make_alert(n, strip=make_strip()) for n in range(200)]
    with Outbox(path) as outbox:
        outbox.append(alerts)
        if not waits:
            outbox.mark_delivered([(alert.key, Audience.TEAM) for alert in alerts[:100]])
    whole = path.read_bytes()
    page = len(whole) // 2 // 4096 * 4096
    path.write_bytes(whole[:page] + bytes(4096) + whole[page + 4096 : -len(whole) // 5])
    with Outbox(path) as outbox:
        kept = outbox.pending()
        assert outbox.recovered_from is not None
        total = 200 if waits else 100
        assert 0 < kept < total
        assert outbox.damaged() >= total - kept
        assert subjects(outbox) == ["rows"]
        assert f"{outbox.damaged()} alerts" in outbox.faults()[0].text
        outbox.losses_raised()
        assert subjects(outbox) == []
        assert outbox.append([make_alert(1000)]) == 1
    with Outbox(path) as outbox:
        assert subjects(outbox) == []  # raised once, also over a restart


@pytest.mark.parametrize("damage", ["empty", "removed", "log cut", "log flipped"])
def test_row_2_committed_rows_that_vanish_are_missed(tmp_path: Path, damage: str) -> None:
    """SQLite reads these files as older ones, without an error."""
    path, copy = tmp_path / "o.db", tmp_path / "copy" / "o.db"
    copy.parent.mkdir()
    with Outbox(path) as outbox:
        outbox.append([make_alert(n) for n in range(10)])
        outbox._database._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        outbox.append([make_alert(n) for n in range(10, 30)])
        outbox.append([make_alert(n) for n in range(30, 50)])
        for file in tmp_path.glob("o.db*"):  # as a power cut leaves them
            (copy.parent / file.name).write_bytes(file.read_bytes())
    log = copy.with_name("o.db-wal")
    content = log.read_bytes()
    if damage == "log cut":
        log.write_bytes(content[: len(content) * 2 // 3])
    elif damage == "log flipped":
        middle = len(content) * 2 // 3
        log.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        log.unlink()
        copy.with_name("o.db-shm").unlink()
        copy.write_bytes(b"") if damage == "empty" else copy.unlink()
    with Outbox(copy) as outbox:
        kept = outbox.pending()
        assert kept in ({0} if damage in {"empty", "removed"} else {10, 30})
        assert outbox.damaged() == 50 - kept
        assert subjects(outbox) == ["rows"]
        outbox.append([make_alert(99)])
    with Outbox(copy) as outbox:
        assert outbox.damaged() == 50 - kept  # counted once


def test_rows_1_and_3_what_has_failed_is_stated(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o.db", max_held=2) as outbox:
        outbox.append([make_alert(n) for n in range(3)])
        assert subjects(outbox) == []
        outbox._database.write(
            lambda db: db.execute("UPDATE alert SET document = X'7b' WHERE created = 2")
        )
        assert len(outbox.waiting(10)) == 2
        assert subjects(outbox) == ["rows"]
        outbox.losses_raised()
        outbox._database._db.execute("PRAGMA query_only = ON")
        with pytest.raises(DeliveryError):
            outbox.append([make_alert(9)])
        outbox.hold([make_alert(n, priority=Priority.LOW) for n in range(4, 9)])
        assert subjects(outbox) == ["disk", "memory"]
        assert all(str(fault.text).isprintable() for fault in outbox.faults())
        outbox._database._db.execute("PRAGMA query_only = OFF")
        outbox.append([make_alert(9)])
        outbox.losses_raised()
        assert subjects(outbox) == []


def test_an_outbox_of_a_newer_version_is_left_as_it_is_and_monitoring_goes_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        outbox.append([make_alert(100)])
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {OUTBOX_FORMAT + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(DeliveryError, match="newer version of the agent"):
        Outbox(path)
    with Outbox(path, stand_in=True) as outbox:
        assert any("newer version" in fault.reason for fault in outbox.faults())
        outbox.append([make_alert(200)])
        assert outbox.pending() == 1
    assert path.read_bytes() == before


def test_an_outbox_that_a_newer_version_has_added_to_is_used(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        outbox.append([make_alert(100)])
    db = sqlite3.connect(path)
    db.execute("ALTER TABLE alert ADD COLUMN added_later TEXT")
    db.execute("CREATE TABLE later (name TEXT)")
    db.commit()
    db.close()
    with Outbox(path) as outbox:
        assert outbox.pending() == 1
        outbox.append([make_alert(200)])
        assert outbox.pending() == 2

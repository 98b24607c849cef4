"""What is new in messages: each alert once, and no payload can break or mislead the feed."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from support.factories import NOON, make_alert, make_episode, make_strip
from support.wards import active_alert, active_document
from tocsin_agent.messages.active import (
    Active,
    ActiveAlert,
    AlertState,
    MonitorState,
    encode_active,
)
from tocsin_agent.messages.alert import Alert, Audience, Escalation, encode_alert
from tocsin_agent.messages.lease import LeaseState, encode_lease, make_lease
from tocsin_agent.messages.receipt import Received
from tocsin_agent.messages.response import Outcome, Response, encode_response
from tocsin_agent.messages.status import Status, encode_status
from tocsin_agent.team.feed import (
    ActiveSeen,
    AlertSeen,
    ConnectionSeen,
    Feed,
    Malformed,
    PresenceSeen,
    ResponseSeen,
    StatusSeen,
    to_json,
)
from tocsin_agent.team.shown import ShownAlerts

TEAM = "tocsin/v1/ward3/bed7/alert/high"
BEDSIDE = "tocsin/v1/ward3/bed7/bedside/high"
STATUS = "tocsin/v1/ward3/bed7/status"
PRESENCE = "tocsin/v1/ward3/presence/cardiologist"


def message(alert: Alert, topic: str = TEAM) -> tuple[str, bytes]:
    return topic, encode_alert(alert)


def test_an_alert_is_new_once_however_often_it_comes() -> None:
    feed = Feed()
    episode = list(make_episode())
    items = [feed.take(*message(alert)) for alert in episode * 3]
    assert [isinstance(item, AlertSeen) for item in items] == [True] * 3 + [False] * 6
    assert items[3:] == [None] * 6


def test_a_handover_is_marked_for_a_receiver_of_both_audiences() -> None:
    feed = Feed()
    first = feed.take(*message(make_alert(), BEDSIDE))
    again = feed.take(*message(make_alert(), TEAM))
    assert isinstance(first, AlertSeen)
    assert isinstance(again, AlertSeen)
    assert (first.audience, first.again) == (Audience.BEDSIDE, False)
    assert (again.audience, again.again) == (Audience.TEAM, True)
    assert feed.take(*message(make_alert(), TEAM)) is None


def test_a_repeat_is_shown_once_and_is_no_new_alert() -> None:
    feed = Feed()
    first = make_alert()
    calls = [
        msgspec.structs.replace(first, escalation=Escalation(level=1, repeat=n, to="second-team"))
        for n in (1, 2)
    ]
    items = [feed.take(*message(alert)) for alert in (first, calls[0], calls[0], calls[1], first)]
    assert [isinstance(item, AlertSeen) for item in items] == [True, True, False, True, False]
    assert [i.repeated for i in items if isinstance(i, AlertSeen)] == [False, True, True]
    topic = "tocsin/v1/ward3/bed7/escalation/second-team/high"
    assert feed.take(*message(calls[1], topic)) is None  # the team has it already


def test_what_is_active_and_what_was_answered() -> None:
    feed = Feed()
    active = Active(
        site="ward3", device="bed7", at=NOON, monitor=MonitorState.MONITORING, alerts=()
    )
    topic = "tocsin/v1/ward3/bed7/active"
    item = feed.take(topic, encode_active(active), retained=True)
    assert isinstance(item, ActiveSeen)
    assert item.active == active
    assert json.loads(to_json(item, NOON))["active"]["monitor"] == "monitoring"
    cleared = feed.take(topic, b"")
    assert isinstance(cleared, ActiveSeen)
    assert cleared.active is None
    response = Response(id="1", alert_id="a" * 32, outcome=Outcome.APPLIED, text="Yes.", at=NOON)
    answer = feed.take(f"tocsin/v1/ward3/bed7/response/{'a' * 32}", encode_response(response))
    assert isinstance(answer, ResponseSeen)
    assert json.loads(to_json(answer, NOON))["response"]["outcome"] == "applied"


def test_who_takes_an_alert_is_news_once() -> None:
    feed, topic = Feed(), "tocsin/v1/ward3/bed7/active"

    def changed(*alerts: ActiveAlert) -> list[str | None]:
        item = feed.take(topic, encode_active(active_document("bed7", *alerts)))
        assert isinstance(item, ActiveSeen)
        return [alert.holder for alert in item.changed]

    held = active_alert(state=AlertState.ACKNOWLEDGED, holder="dr-k")
    other = active_alert(alert_id="f" * 32)
    assert changed(active_alert()) == [None]  # open before this receiver was
    assert changed(active_alert(), other) == []  # its alert says that it began
    assert changed(held, other) == ["dr-k"]
    assert changed(held, other) == []
    assert changed(active_alert(), other) == [None]  # given back
    assert changed() == []


def test_an_end_without_its_onset_is_marked() -> None:
    feed = Feed()
    _, end = make_episode(updates=0)
    item = feed.take(*message(end))
    assert isinstance(item, AlertSeen)
    assert item.missed_onset


def test_memory_is_bounded() -> None:
    feed = Feed(ShownAlerts(10))
    for n in range(100):
        assert feed.take(*message(make_alert(n))) is not None
    assert len(feed._shown) == 10
    assert feed.take(*message(make_alert(99))) is None
    assert feed.take(*message(make_alert(0))) is not None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"schema":"tocsin/alert/v1"}',
        encode_alert(make_alert()).replace(b'"high"', b'"gravest"'),
    ],
)
def test_an_invalid_payload_is_malformed(payload: bytes) -> None:
    item = Feed().take(TEAM, payload)
    assert isinstance(item, Malformed)
    assert item.payload == payload
    assert json.loads(to_json(item, NOON))["type"] == "malformed"
    huge = json.loads(to_json(Malformed("t", b"x" * 1_000_000, "no"), NOON))
    assert (len(huge["payload"]), huge["bytes"]) == (4096, 1_000_000)


def test_an_alert_of_a_newer_agent_is_shown() -> None:
    newer = json.loads(encode_alert(make_alert(strip=make_strip())))
    for part in (newer, newer["strip"], newer["evidence"], newer["signal_quality"]):
        part["of_a_later_version"] = {"a": [1, 2]}
    item = Feed().take(TEAM, json.dumps(newer).encode())
    assert isinstance(item, AlertSeen)
    assert item.alert == make_alert(strip=make_strip())


def test_status_is_new_when_it_changes() -> None:
    feed = Feed()
    online = STATUS, b'{"state":"online","since":"2026-03-01T12:00:00Z","more":1}'
    item = feed.take(*online)
    assert isinstance(item, StatusSeen)
    assert (item.status.state, item.address.device) == ("online", "bed7")
    assert feed.take(*online) is None
    assert isinstance(feed.take(STATUS, b'{"state":"offline"}'), StatusSeen)
    assert isinstance(feed.take(STATUS, b"[]"), Malformed)
    assert feed.take(STATUS, b"") is None


def test_presence_is_new_when_the_holder_or_the_state_changes() -> None:
    feed = Feed()

    def lease(holder: str, state: LeaseState = LeaseState.PRESENT) -> tuple[str, bytes]:
        return PRESENCE, encode_lease(make_lease("cardiologist", holder, 60, NOON, state))

    assert feed.take(PRESENCE, b"") is None
    assert isinstance(feed.take(*lease("k")), PresenceSeen)
    assert feed.take(*lease("k")) is None
    assert isinstance(feed.take(*lease("m")), PresenceSeen)
    assert isinstance(feed.take(*lease("m", LeaseState.GONE)), PresenceSeen)
    cleared = feed.take(PRESENCE, b"")
    assert isinstance(cleared, PresenceSeen)
    assert cleared.lease is None
    assert isinstance(feed.take(PRESENCE, b"?"), Malformed)


def test_other_topics_are_ignored() -> None:
    feed = Feed()
    assert feed.take("something/else", b"?") is None
    assert feed.take("tocsin/v1/ward3/bed7/health", b"?") is None


def test_json_holds_the_whole_document() -> None:
    alert = make_alert(strip=make_strip())
    item = Feed().take(*message(alert))
    assert item is not None
    record = json.loads(to_json(item, NOON))
    assert record["type"] == "alert"
    assert msgspec.convert(record["alert"], Alert) == alert
    assert json.loads(to_json(ConnectionSeen(False, "gone"), NOON))["connected"] is False


@pytest.mark.parametrize("topic", [TEAM, STATUS, PRESENCE, "tocsin/v1/ward3/bed7/active"])
def test_row_6_a_deeply_nested_message_is_shown_as_malformed(topic: str) -> None:
    feed = Feed()
    nested = b'{"state":' + b"[" * 2000 + b"]" * 2000 + b"}"
    assert isinstance(feed.take(topic, nested, retained=True), Malformed)
    assert isinstance(feed.take(*message(make_alert())), AlertSeen)


@pytest.mark.parametrize("changes", [{"device": "bed8"}, {"site": "ward4"}])
@pytest.mark.parametrize("topic", [TEAM, BEDSIDE, "tocsin/v1/ward3/bed7/escalation/all/high"])
def test_row_5_an_alert_of_another_device_is_refused(changes: dict[str, str], topic: str) -> None:
    feed = Feed()
    item = feed.take(*message(msgspec.structs.replace(make_alert(), **changes), topic))
    assert isinstance(item, Malformed)
    assert "ward3/bed7" in item.reason
    assert next(iter(changes.values())) in item.reason
    assert feed.received == {}  # and no receipt is sent for it
    assert isinstance(feed.take(*message(make_alert(), topic)), AlertSeen)


def test_row_5_no_document_counts_for_another_device_or_role() -> None:
    feed = Feed()
    status = encode_status(Status(state="online", site="ward3", device="bed8"))
    active = encode_active(active_document("bed8"))
    lease = encode_lease(make_lease("nurse", "k", 60, NOON))
    for topic, payload in ((STATUS, status), (f"{STATUS[:-6]}active", active), (PRESENCE, lease)):
        assert isinstance(feed.take(topic, payload), Malformed), topic
    assert isinstance(feed.take(STATUS, b'{"state": "online"}'), StatusSeen)


def test_row_11_what_arrives_again_is_named_in_a_receipt_again() -> None:
    feed = Feed()
    for _ in range(2):
        feed.take(*message(make_alert()))
        keys = feed.received.pop(("ward3", "bed7"))
        assert keys == {Received(*make_alert().key, Audience.TEAM)}


def test_row_13_a_restarted_receiver_shows_nothing_twice(tmp_path: Path) -> None:
    file = tmp_path / "state" / "watch.shown"
    for start in (0, 5):
        shown = ShownAlerts(10, file)
        feed = Feed(shown)
        for n in range(start, start + 10):
            item = feed.take(*message(make_alert(n)))
            assert isinstance(item, AlertSeen) is (start == 0 or n >= 10)
            if isinstance(item, AlertSeen):
                shown.keep(item.alert.key)
    for n in range(100):
        shown.add(make_alert(n).key, Audience.TEAM, 0)
        shown.keep(make_alert(n).key)
    assert len(file.read_text().splitlines()) <= 30  # bounded
    file.write_bytes(file.read_bytes()[:-20] + b"\xff garbage\n")
    assert ShownAlerts(10, file).repeats(make_alert(97).key)
    assert file.stat().st_mode & 0o777 == 0o600


def test_row_13_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    shown = ShownAlerts(10, tmp_path / "state" / "watch.shown")
    shown.add(make_alert().key, Audience.TEAM, 0)
    shown.keep(make_alert().key)
    assert shown.repeats(make_alert().key)

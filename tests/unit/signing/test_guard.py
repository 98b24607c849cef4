"""Messages of people at a device: unsigned, foreign, old and replayed ones are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.keys import make_key, trust
from tocsin_agent.messages.topics import parse
from tocsin_agent.signing.envelope import PROPERTY, Signer
from tocsin_agent.signing.guard import Guard
from tocsin_agent.signing.keyring import KeyFile
from tocsin_agent.signing.replays import Replays
from tocsin_agent.signing.settings import SigningSettings

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ACK = "tocsin/v1/ward3/bed7/ack/" + "0" * 32
LEASE = "tocsin/v1/ward3/presence/cardiologist"
CONTEXT = "tocsin/v1/ward3/bed7/context"
PAYLOAD = {
    ACK: b'{"who":"dr-k","role":"cardiologist"}',
    LEASE: b'{"id":"dr-k","role":"cardiologist"}',
    CONTEXT: b'{"who":"dr-k","role":"cardiologist"}',
}


@pytest.fixture
def private(tmp_path: Path) -> Path:
    private = make_key(tmp_path, "dr-k")
    trust(tmp_path / "people.toml", "dr-k", private, "cardiologist")
    return private


def guard(folder: Path) -> Guard:
    replays = Replays.beside(folder / "outbox.db")
    return Guard(KeyFile(folder / "people.toml"), SigningSettings(), replays)


def signed(private: Path, topic: str, at: datetime, payload: bytes | None = None) -> str:
    payload = PAYLOAD[topic] if payload is None else payload
    return Signer(Signer.from_file(private)._key, lambda: at).sign(topic, payload)


def refusal(one: Guard, topic: str, text: str, payload: bytes | None = None) -> str:
    address = parse(topic)
    assert address is not None
    payload = PAYLOAD[topic] if payload is None else payload
    return one.refusal(topic, payload, {PROPERTY: text} if text else {}, address, NOW)


@pytest.mark.parametrize("topic", [ACK, LEASE, CONTEXT])
def test_a_signed_message_of_now_is_accepted_and_an_unsigned_one_refused(
    tmp_path: Path, private: Path, topic: str
) -> None:
    assert refusal(guard(tmp_path), topic, signed(private, topic, NOW)) == ""
    assert refusal(guard(tmp_path), topic, "") == "it is not signed"


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (timedelta(seconds=3601), "signed 3601 s ago"),
        (timedelta(seconds=-61), "61 s in the future"),
        (timedelta(seconds=3599), ""),
        (timedelta(seconds=-59), ""),
    ],
)
def test_a_signature_is_good_for_a_time(
    tmp_path: Path, private: Path, age: timedelta, reason: str
) -> None:
    why = refusal(guard(tmp_path), ACK, signed(private, ACK, NOW - age))
    assert bool(why) is bool(reason)
    assert reason in why


@pytest.mark.parametrize("topic", [ACK, CONTEXT])
def test_a_replay_is_refused_over_a_restart_too(tmp_path: Path, private: Path, topic: str) -> None:
    first, second = (signed(private, topic, NOW - timedelta(seconds=s)) for s in (20, 10))
    running = guard(tmp_path)
    assert refusal(running, topic, first) == ""
    assert refusal(running, topic, second) == ""
    assert refusal(running, topic, second) == "", "the broker sent the same one again"
    for one in (running, guard(tmp_path)):
        assert "older than one that dr-k sent before" in refusal(one, topic, first)


def test_a_released_lease_does_not_come_back(tmp_path: Path, private: Path) -> None:
    running = guard(tmp_path)
    present = signed(private, LEASE, NOW - timedelta(seconds=5))
    assert refusal(running, LEASE, present) == ""
    assert refusal(running, LEASE, signed(private, LEASE, NOW)) == ""
    assert "older than one" in refusal(running, LEASE, present)


def test_the_will_of_a_lost_connection_counts_however_long_it_lasted(
    tmp_path: Path, private: Path
) -> None:
    gone = b'{"id":"dr-k","role":"cardiologist","state":"gone"}'
    began = signed(private, LEASE, NOW - timedelta(hours=9), gone)
    running, present = guard(tmp_path), signed(private, LEASE, NOW)
    assert refusal(running, LEASE, present) == ""
    assert refusal(running, LEASE, began, gone) == ""
    assert "older than one" in refusal(running, LEASE, present), "nor does what it ended return"
    assert refusal(running, LEASE, signed(private, LEASE, NOW + timedelta(seconds=1))) == ""
    assert refusal(running, LEASE, "", gone) == "it is not signed"


def test_who_is_trusted_may_clear_a_topic_and_nobody_else(tmp_path: Path, private: Path) -> None:
    cleared = signed(private, CONTEXT, NOW, b"")
    assert refusal(guard(tmp_path), CONTEXT, cleared, b"") == ""
    assert refusal(guard(tmp_path), CONTEXT, "", b"") == "it is not signed"


def test_a_file_of_keys_that_cannot_be_read_lets_nobody_in(tmp_path: Path, private: Path) -> None:
    text = signed(private, ACK, NOW)
    (tmp_path / "people.toml").write_text("[[")
    one = guard(tmp_path)
    assert "is not known here" in refusal(one, ACK, text)
    assert "no file of keys" in one.failure()


def test_a_damaged_memory_of_replays_ends_nothing(tmp_path: Path, private: Path) -> None:
    (tmp_path / "outbox.db.signed").write_text("[1")
    assert refusal(guard(tmp_path), ACK, signed(private, ACK, NOW)) == ""


def test_without_a_file_people_need_no_signature() -> None:
    assert Guard.from_settings(SigningSettings()) is None

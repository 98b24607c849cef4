"""Signatures: what is signed, whose keys are trusted, from when a key is refused."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from support.keys import key_command, make_key, trust
from tocsin_agent.cli import key as key_cli
from tocsin_agent.errors import SigningError
from tocsin_agent.messages.topics import parse
from tocsin_agent.signing.envelope import PROPERTY, Signer, read_signature
from tocsin_agent.signing.keyring import KeyFile, Keyring, Verdict, owner_of, read_keyring

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
STATUS = "tocsin/v1/ward3/bed7/status"
PAYLOAD = b'{"state":"online"}'


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return make_key(tmp_path, "bed7")


@pytest.fixture
def keys(tmp_path: Path, private: Path) -> Path:
    trust(tmp_path / "keys.toml", "ward3/bed7", private)
    return tmp_path / "keys.toml"


def judged(keys: Path, topic: str, payload: bytes, text: str, now: datetime = NOW) -> Verdict:
    address = parse(topic)
    assert address is not None
    return read_keyring(keys).verify(
        topic, payload, {PROPERTY: text} if text else {}, owner_of(address, payload), now
    )


def test_what_a_device_signed_is_its_own(keys: Path, private: Path) -> None:
    text = Signer.from_file(private).sign(STATUS, PAYLOAD)
    assert judged(keys, STATUS, PAYLOAD, text)[:2] == ("ward3/bed7", "")


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (STATUS, PAYLOAD + b" "),
        (STATUS, b""),
        ("tocsin/v1/ward3/bed7/active", PAYLOAD),
        ("tocsin/v1/ward3/bed8/status", PAYLOAD),
    ],
    ids=["changed", "emptied", "moved to another topic", "moved to another device"],
)
def test_a_signature_covers_payload_and_topic(
    keys: Path, private: Path, topic: str, payload: bytes
) -> None:
    text = Signer.from_file(private).sign(STATUS, PAYLOAD)
    assert "no message that ward3/bed7 signed" in judged(keys, topic, payload, text).reason


def test_a_signature_covers_the_properties_of_tocsin(keys: Path, private: Path) -> None:
    user = {"tocsin-additions": "{}"}
    text = Signer.from_file(private).sign(STATUS, PAYLOAD, user)
    keyring, address = read_keyring(keys), parse(STATUS)
    assert address is not None
    owner = owner_of(address, PAYLOAD)
    for changed, genuine in (
        ({**user, PROPERTY: text}, True),
        ({**user, PROPERTY: text, "broker": "x"}, True),
        ({"tocsin-additions": '{"a":1}', PROPERTY: text}, False),
        ({PROPERTY: text}, False),
        ({**user, "tocsin-more": "", PROPERTY: text}, False),
    ):
        assert keyring.verify(STATUS, PAYLOAD, changed, owner, NOW).genuine is genuine


def test_a_signature_covers_its_time(keys: Path, private: Path) -> None:
    version, key, at, signature = Signer.from_file(private).sign(STATUS, PAYLOAD).split(" ")
    forged = f"{version} {key} {int(at) + 1} {signature}"
    assert "no message that" in judged(keys, STATUS, PAYLOAD, forged).reason


def test_a_device_cannot_sign_for_another(tmp_path: Path, keys: Path) -> None:
    other = make_key(tmp_path, "bed8")
    text = Signer.from_file(other).sign(STATUS, PAYLOAD)
    assert "is not known here" in judged(keys, STATUS, PAYLOAD, text).reason
    trust(keys, "ward3/bed8", other)
    assert "in another's name" in judged(keys, STATUS, PAYLOAD, text).reason


@pytest.mark.parametrize("text", ["", "v1", "v2 a 1 AAAA", "v1 x 1 !", "v1 x -1 AA", "v1 x ² AA"])
def test_what_is_no_signature_is_refused(keys: Path, text: str) -> None:
    assert judged(keys, STATUS, PAYLOAD, text).by is None


@given(st.text(max_size=300))
def test_no_property_can_end_the_reader(text: str) -> None:
    signature = read_signature(text)
    assert signature is None or signature.at.tzinfo is not None


@pytest.mark.parametrize("branch", ["ack", "review"])
def test_a_person_signs_for_the_pseudonym_and_the_roles_of_the_key(
    tmp_path: Path, branch: str
) -> None:
    keys, private = tmp_path / "people.toml", make_key(tmp_path, "dr-k")
    trust(keys, "dr-k", private, "cardiologist")
    topic, signer = f"tocsin/v1/ward3/bed7/{branch}/" + "0" * 32, Signer.from_file(private)
    for who, role, reason in (
        ("dr-k", "cardiologist", ""),
        ("dr-m", "cardiologist", "dr-k signed it in another's name"),
        ("dr-k", "team", "the key of dr-k is not for the role 'team'"),
    ):
        payload = f'{{"who":"{who}","role":"{role}"}}'.encode()
        assert judged(keys, topic, payload, signer.sign(topic, payload)).reason == reason


def test_keys_are_replaced_with_an_overlap(tmp_path: Path, keys: Path, private: Path) -> None:
    new = make_key(tmp_path, "bed7-new")
    trust(keys, "ward3/bed7", new)
    old = Signer.from_file(private)
    key_command("revoke", keys, old.id, "--in", "14d", "--reason", "replaced")
    now = datetime.now(UTC)
    for signer, later, good in (
        (old, timedelta(0), True),
        (Signer.from_file(new), timedelta(0), True),
        (old, timedelta(days=15), False),
        (Signer.from_file(new), timedelta(days=15), True),
    ):
        text = signer.sign(STATUS, PAYLOAD)
        assert judged(keys, STATUS, PAYLOAD, text, now + later).genuine is good


def test_a_revoked_key_is_refused_whatever_time_it_states(keys: Path, private: Path) -> None:
    long_ago = Signer(
        Signer.from_file(private)._key, lambda: datetime(2020, 1, 1, tzinfo=UTC)
    ).sign(STATUS, PAYLOAD)
    assert judged(keys, STATUS, PAYLOAD, long_ago, datetime.now(UTC)).genuine
    key_command("revoke", keys, Signer.from_file(private).id, "--reason", "card stolen")
    reason = judged(keys, STATUS, PAYLOAD, long_ago, datetime.now(UTC)).reason
    assert "is revoked card stolen" in reason


def test_a_running_reader_takes_the_file_again_when_it_changes(keys: Path, private: Path) -> None:
    now_s = [0.0]
    file, signer = KeyFile(keys, lambda: now_s[0]), Signer.from_file(private)
    assert signer.id in file.current().keys
    good = keys.read_text()
    keys.write_text(good + "\n[[key]]\nname = 3\n")
    now_s[0] += 3.0
    assert signer.id in file.current().keys, "a bad file leaves the last good keys"
    keys.write_text(good)
    key_command("revoke", keys, signer.id)
    now_s[0] += 3.0
    assert signer.id in file.current().revoked


def test_a_file_whose_mode_is_put_right_is_read(
    keys: Path, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mode changes neither the size nor the time of a file."""

    def denied(path: Path) -> Keyring:
        raise SigningError(f"{path} cannot be read: Permission denied")

    now_s = [0.0]
    file = KeyFile(keys, lambda: now_s[0])
    with monkeypatch.context() as before:
        before.setattr("tocsin_agent.signing.keyring.read_keyring", denied)
        assert file.current().keys == {}
        assert "Permission denied" in file.failure
    now_s[0] += 3.0
    assert Signer.from_file(private).id in file.current().keys
    assert file.failure == ""


@pytest.mark.parametrize(
    "text",
    ["[[key]", "[[key]]\nname = 'a'\npublic = 'AAAA'", "key = 1", "[[key]]\nname = 'a'", "a = 1"],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.toml").write_text(text)
    with pytest.raises(SigningError, match=r"keys\.toml"):
        read_keyring(tmp_path / "keys.toml")


def test_a_private_key_is_its_owners_and_is_not_replaced(private: Path) -> None:
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    again = CliRunner().invoke(key_cli.command, ["new", str(private)])
    assert isinstance(again.exception, SigningError)
    assert Signer.from_file(private).id in key_command("show", private)


def test_the_keys_of_a_file_are_listed_with_their_state(keys: Path, private: Path) -> None:
    signer = Signer.from_file(private)
    assert f"{signer.id}  ward3/bed7  trusted\n" == key_command("show", keys)
    key_command("revoke", keys, signer.id, "--reason", "lost")
    assert "revoked since" in key_command("show", keys)
    unknown = CliRunner().invoke(key_cli.command, ["revoke", str(keys), "0" * 16])
    assert isinstance(unknown.exception, SigningError)


def test_a_clock_that_is_set_back_makes_no_replay(private: Path) -> None:
    times = iter((NOW, NOW - timedelta(hours=1)))
    signer = Signer(Signer.from_file(private)._key, lambda: next(times))
    first, second = (read_signature(signer.sign(STATUS, PAYLOAD)) for _ in range(2))
    assert first is not None
    assert second is not None
    assert second.at_us > first.at_us


def test_an_empty_keyring_trusts_nobody(private: Path) -> None:
    text = Signer.from_file(private).sign(STATUS, PAYLOAD)
    address = parse(STATUS)
    assert address is not None
    owner = owner_of(address, PAYLOAD)
    assert not Keyring().verify(STATUS, PAYLOAD, {PROPERTY: text}, owner, NOW).genuine

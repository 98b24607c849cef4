"""The desk of a site signs what has a token or a certificate of its authority, and nothing else."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from support.brokers import authority
from tocsin_agent.cli import cli
from tocsin_agent.errors import SigningError
from tocsin_agent.identity import certificates
from tocsin_agent.identity.desk import Desk
from tocsin_agent.identity.renewal import request_renewal, take_renewed
from tocsin_agent.identity.store import IdentityStore
from tocsin_agent.identity.tokens import Token, TokenFile, prove
from tocsin_agent.messages.identity import (
    IdentityRequest,
    IdentityResponse,
    decode_request,
    decode_response,
    encode_identity,
)
from tocsin_agent.messages.topics import Topics, enrolment_request_topic
from tocsin_agent.mqtt.events import Message

NOW = datetime.now(UTC)
BED = Topics("ward3", "bed7")
ID = "0" * 32


class Site:
    """Authority, tokens and desk of one site."""

    def __init__(self, folder: Path) -> None:
        self.ca = authority(folder, "site")
        self.tokens = TokenFile(folder / "tokens.json", "ward3")

    @property
    def desk(self) -> Desk:
        """Make a desk that remembers nothing but what is in files."""
        return self.new_desk()

    def new_desk(self) -> Desk:
        return Desk(self.tokens, self.ca, self.ca.with_suffix(".key"), days=1)

    def token(self) -> Token:
        return Token.parse(self.tokens.add("bed7", NOW + timedelta(hours=1)))

    def certificate(self, asked: bytes, name: str = "bed7", now: datetime = NOW) -> bytes:
        key = self.ca.with_suffix(".key").read_bytes()
        return certificates.sign(asked, self.ca.read_bytes(), key, name, days=1, now=now)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def site(made: Site) -> Site:
    made.tokens.path.unlink(missing_ok=True)
    return made


@pytest.fixture
def gateway(tmp_path: Path, site: Site) -> IdentityStore:
    """Return a gateway with a certificate of the site."""
    store = IdentityStore(tmp_path / "identity")
    asked = store.enrol("bed7", site.ca.read_bytes())
    store.install(site.certificate(asked, now=NOW - timedelta(hours=1)), NOW)
    return store


def enrolment(token: Token, name: str = "bed7", key: bytes | None = None) -> IdentityRequest:
    asked = certificates.request(key or certificates.new_key(), name).decode()
    made = IdentityRequest(id=ID, request=asked, token=token.id, proof="")
    proof = b64encode(prove(token.key, made.content)).decode()
    return msgspec.structs.replace(made, proof=proof)


def enrol(desk: Desk, request: IdentityRequest, now: datetime = NOW) -> IdentityResponse:
    topic = enrolment_request_topic("ward3", request.id)
    answer = desk.answer(Message(topic, encode_identity(request)), now)
    assert answer is not None
    assert answer.topic == topic.replace("request", "response")
    return decode_response(answer.payload)


def renew(desk: Desk, request: IdentityRequest, now: datetime = NOW) -> IdentityResponse:
    answer = desk.answer(Message(BED.renewal, encode_identity(request)), now)
    assert answer is not None
    assert answer.topic == BED.renewed
    return decode_response(answer.payload)


def test_a_token_that_is_not_known_and_a_wrong_proof_get_the_same_answer(site: Site) -> None:
    token = site.token()
    stolen_id = msgspec.structs.replace(
        enrolment(Token("ward3", "bed7", b"1" * 32)), token=token.id
    )
    other = enrolment(Token("ward3", "bed7", b"1" * 32))
    assert enrol(site.desk, stolen_id) == enrol(site.desk, other)
    assert not enrol(site.desk, other).certificate
    assert enrol(site.desk, enrolment(token)).certificate, "the token is not used up by that"


def test_a_proof_is_of_one_request_only(site: Site) -> None:
    genuine, other = enrolment(site.token()), enrolment(site.token())
    moved = msgspec.structs.replace(genuine, request=other.request)
    assert "not known" in enrol(site.desk, moved).refused


def test_a_used_token_stays_used_in_a_new_process(site: Site) -> None:
    token, key = site.token(), certificates.new_key()
    first = enrol(site.desk, enrolment(token, key=key))
    assert enrol(site.new_desk(), enrolment(token, key=key)).certificate == first.certificate
    assert "used by another key" in enrol(site.new_desk(), enrolment(token)).refused


def test_an_expired_token_and_a_removed_one_are_refused(site: Site) -> None:
    token = site.token()
    late = enrol(site.desk, enrolment(token), NOW + timedelta(hours=2))
    assert "expired" in late.refused
    assert late.proof, "the gateway can tell that the site says so"
    assert site.tokens.revoke("bed7", NOW) == 1
    assert "not known" in enrol(site.desk, enrolment(token)).refused


def test_nothing_is_signed_where_a_use_cannot_be_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = enrolment(site.token())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tocsin_agent.identity.tokens.replace_file", full)
    with pytest.raises(SigningError, match="No space left"):
        enrol(site.desk, request)


def test_a_renewal_is_for_who_has_the_key_in_use(site: Site, gateway: IdentityStore) -> None:
    request, desk = request_renewal(gateway), site.desk
    answer = renew(desk, request)
    found = take_renewed(gateway, answer.certificate.encode(), NOW)
    assert found.name == "bed7"
    assert renew(desk, request) == answer, "the same request is signed once"


def test_a_renewal_is_refused_without_the_key_the_name_or_the_time(
    site: Site, gateway: IdentityStore, tmp_path: Path
) -> None:
    genuine = request_renewal(gateway)
    unsigned = msgspec.structs.replace(genuine, proof="")
    assert "not signed" in renew(site.desk, unsigned).refused
    assert "has ended" in renew(site.desk, genuine, NOW + timedelta(days=2)).refused
    elsewhere = Topics("ward3", "bed8").renewal
    answer = site.desk.answer(Message(elsewhere, encode_identity(genuine)), NOW)
    assert answer is not None
    assert "of another device" in decode_response(answer.payload).refused
    own = authority(tmp_path, "own")  # an authority that an attacker has made
    stranger = IdentityStore(tmp_path / "stranger")
    asked = stranger.enrol("bed7", own.read_bytes())
    key = own.with_suffix(".key").read_bytes()
    stranger.install(certificates.sign(asked, own.read_bytes(), key, "bed7", days=1, now=NOW), NOW)
    assert "of another authority" in renew(site.desk, request_renewal(stranger)).refused
    site.tokens.revoke("bed7", NOW)
    assert "revoked" in renew(site.desk, genuine).refused


def test_a_stolen_certificate_stays_revoked_when_its_device_enrols_again(
    site: Site, gateway: IdentityStore, tmp_path: Path
) -> None:
    stolen = request_renewal(gateway)
    site.tokens.revoke("bed7", NOW)
    replacement, token = IdentityStore(tmp_path / "new"), site.token()
    key = replacement.enrol("bed7", site.ca.read_bytes()).decode()
    asked = enrolment(token)
    asked = msgspec.structs.replace(asked, request=key)
    proof = b64encode(prove(token.key, asked.content)).decode()
    answer = enrol(site.desk, msgspec.structs.replace(asked, proof=proof))
    replacement.install(answer.certificate.encode(), NOW)
    later = NOW + timedelta(minutes=1)
    assert "revoked" in renew(site.desk, stolen, later).refused
    assert renew(site.desk, request_renewal(replacement), later).certificate


def test_a_file_of_an_earlier_version_still_revokes(site: Site, gateway: IdentityStore) -> None:
    site.tokens.path.write_text('{"tokens": {}, "revoked": ["bed7"]}')
    genuine = request_renewal(gateway)
    assert "revoked" in renew(site.desk, genuine).refused
    site.token()
    assert "revoked" in renew(site.desk, genuine).refused


def test_of_two_desks_at_once_one_signs_for_a_token(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, second = site.token(), site.new_desk()
    found = TokenFile.find
    answers: list[IdentityResponse] = []

    def find(self: TokenFile, token_id: str) -> object:
        kept = found(self, token_id)
        monkeypatch.setattr(TokenFile, "find", found)
        answers.append(enrol(second, enrolment(token)))  # between the look and the signature
        return kept

    monkeypatch.setattr(TokenFile, "find", find)
    answers.append(enrol(site.desk, enrolment(token)))
    assert [bool(one.certificate) for one in answers] == [True, False]
    assert "used by another key" in answers[1].refused


def test_a_token_that_is_revoked_while_it_is_used_is_not_known(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, found = site.token(), TokenFile.find

    def find(self: TokenFile, token_id: str) -> object:
        kept = found(self, token_id)
        self.revoke("bed7", NOW)
        return kept

    monkeypatch.setattr(TokenFile, "find", find)
    assert "not known" in enrol(site.desk, enrolment(token)).refused


@pytest.mark.parametrize("device", ["", "a/b", "bed7\n", "presence", "ü" * 33])
def test_a_name_that_no_gateway_can_have_gets_no_token_and_is_not_revoked(
    site: Site, device: str
) -> None:
    """A mistyped name must not look like a device that is revoked now."""
    with pytest.raises(SigningError):
        site.tokens.add(device, NOW)
    with pytest.raises(SigningError):
        site.tokens.revoke(device, NOW)
    assert not site.tokens.path.exists()


@pytest.mark.parametrize("hours", ["nan", "inf", "0", "soon"])
def test_a_token_lasts_for_a_number_of_hours(tmp_path: Path, hours: str) -> None:
    names = ("--site", "ward3", "--device", "bed7")
    command = ["identity", "token", str(tmp_path / "t.json"), *names, "--hours", hours]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 2, done.output
    assert "--hours" in done.output


def test_an_authority_that_is_none_is_named(site: Site, tmp_path: Path) -> None:
    (none := tmp_path / "ca.pem").write_text("none")
    with pytest.raises(SigningError, match=r"ca\.pem and .* are no authority"):
        Desk(site.tokens, none, site.ca.with_suffix(".key"), days=1)
    with pytest.raises(SigningError, match="authority of the broker: no certificate"):
        IdentityStore(tmp_path / "identity").enrol("bed7", b"none")


def test_tokens_of_a_large_site_fit_into_the_file(site: Site) -> None:
    """An expired token needs no certificate any more: 2.5 kB each, of a fleet."""
    token = site.token()
    enrol(site.desk, enrolment(token))
    assert site.tokens.path.read_text().count("BEGIN CERTIFICATE") == 2
    other, later = site.token(), NOW + timedelta(minutes=90)
    site.tokens.use(other.id, "0" * 64, b"certificate", later)
    assert "BEGIN CERTIFICATE" not in site.tokens.path.read_text()


def test_a_gateway_takes_no_certificate_of_another_authority_and_no_older_one(
    site: Site, gateway: IdentityStore, tmp_path: Path
) -> None:
    asked, before = gateway.renew(), gateway.current()
    own = authority(tmp_path, "own")
    forged = certificates.sign(
        asked, own.read_bytes(), own.with_suffix(".key").read_bytes(), "bed7", days=1, now=NOW
    )
    with pytest.raises(SigningError, match="authority of the one in use"):
        take_renewed(gateway, forged, NOW)
    shorter = site.certificate(asked, now=NOW - timedelta(hours=3))
    with pytest.raises(SigningError, match="does not last longer"):
        take_renewed(gateway, shorter, NOW)
    assert gateway.current() == before


def test_hostile_payloads_raise_nothing_and_get_no_certificate(
    site: Site, gateway: IdentityStore
) -> None:
    token = site.token()
    genuine = [
        (enrolment_request_topic("ward3", ID), encode_identity(enrolment(token))),
        (BED.renewal, encode_identity(request_renewal(gateway))),
    ]
    known = [msgspec.json.decode(payload, type=dict[str, Any]) for _, payload in genuine]
    draws = random.Random(1)
    desk = site.desk
    for _ in range(1500):
        which = draws.randrange(2)
        topic, payload = genuine[which]
        changed = _changed(draws, payload, known[which])
        answer = desk.answer(Message(topic, changed), NOW)
        if answer is None or _same(changed, decode_request(payload)):
            continue
        assert not decode_response(answer.payload).certificate, changed
    assert enrol(desk, decode_request(genuine[0][1])).certificate, "the token is still there"


def _same(changed: bytes, known: IdentityRequest) -> bool:
    """Return whether all that counts is as it was: text around a certificate does not."""
    found = decode_request(changed)
    if (found.id, found.request, found.proof) != (known.id, known.request, known.proof):
        return False
    if known.token:
        return found.token == known.token
    try:
        of_both = [certificates.split(one.certificate.encode()) for one in (found, known)]
    except SigningError:
        return False
    return of_both[0] == of_both[1]


def _changed(draws: random.Random, payload: bytes, known: dict[str, Any]) -> bytes:
    values: tuple[Any, ...] = (None, True, -1, 2**70, "", "x" * 9000, "\x1b[2J\u202e", [], {}, [[]])
    kind = draws.randrange(4)
    if kind == 0:
        at = draws.randrange(len(payload))
        return payload[:at] + bytes([draws.randrange(256)]) + payload[at + 1 :]
    if kind == 1:
        return payload[: draws.randrange(len(payload))]
    if kind == 2:
        return json.dumps(known | {draws.choice(list(known)): draws.choice(values)}).encode()
    return draws.choice([b"", b"\xff", b"[" * 5000, b'{"id":"\\ud800"}', b"9" * 70_000])

"""A gateway gets its first certificate with a one-time token over mosquitto, and renews it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from support.brokers import Mosquitto, Recorder, add_users, authority, free_port, quick, until
from support.programs import PATIENCE_S
from tocsin_agent.cli import cli
from tocsin_agent.config.config import load_config
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.errors import DeliveryError, SigningError
from tocsin_agent.identity import certificates
from tocsin_agent.identity.desk import Desk
from tocsin_agent.identity.online import join, serve
from tocsin_agent.identity.store import IdentityStore
from tocsin_agent.identity.tokens import Token, TokenFile
from tocsin_agent.messages.health import DeliveryHealth
from tocsin_agent.messages.topics import Branch, identity_filters
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.events import Message
from tocsin_agent.mqtt.settings import MqttSettings, TlsSettings
from tocsin_agent.runtime import renewal
from tocsin_agent.runtime.assembly import Assembly
from tocsin_agent.updates.field import FieldModels

pytestmark = pytest.mark.broker

CONFIG = Path(__file__).resolve().parents[2] / "config" / "broker"
REQUESTS, RENEWALS = identity_filters("ward3")


class Site:
    """The example broker with certificates and a listener for enrolments, and the site's files."""

    def __init__(self, folder: Path) -> None:
        self.ca = authority(folder, "broker")
        self.key = self.ca.with_suffix(".key")
        self.tokens = TokenFile(folder / "tokens.json", "ward3")
        self.enrolment_port = free_port()
        add_users(folder / "tocsin.passwd", "secret", "identity-ward3", "bed7", "reader")
        acl = (CONFIG / "mosquitto.acl").read_text() + "\nuser reader\ntopic read #\n"
        (folder / "tocsin.acl").write_text(acl)
        (folder / "enrolment.acl").write_text((CONFIG / "enrolment.acl").read_text())
        text = (CONFIG / "mosquitto.conf").read_text() + (CONFIG / "enrolment.conf").read_text()
        lines = [
            line.replace("listener 8883", "listener {port} 127.0.0.1")
            .replace("listener 8884", f"listener {self.enrolment_port} 127.0.0.1")
            .replace("/etc/mosquitto/certs", str(folder))
            .replace("/etc/mosquitto", str(folder))
            for line in text.splitlines()
            if not line.startswith("persistence")
        ]
        # The listener of the devices, as the comments in mosquitto.conf say.
        self.device_port = free_port()
        lines += [
            f"listener {self.device_port} 127.0.0.1",
            f"certfile {self.ca}\nkeyfile {self.key}\ncafile {self.ca}\nallow_anonymous false",
            "require_certificate true\nuse_identity_as_username true",
            "use_username_as_clientid true",
            f"acl_file {folder}/tocsin.acl",
        ]
        self.broker = Mosquitto(folder, "\n".join(lines) + "\n", autosave=False)

    def settings(self, user: str) -> MqttSettings:
        return quick(self.broker.port, username=user, tls=TlsSettings(ca_file=str(self.ca)))

    @property
    def enrolment(self) -> MqttSettings:
        return quick(self.enrolment_port, tls=TlsSettings(ca_file=str(self.ca)))

    def token(self, device: str = "bed7", hours: float = 1.0) -> Token:
        return Token.parse(self.tokens.add(device, datetime.now(UTC) + timedelta(hours=hours)))

    def desk(self, days: int = 30) -> Desk:
        return Desk(self.tokens, self.ca, self.key, days=days)

    @contextmanager
    def serving(self, desk: Desk | None = None) -> Iterator[None]:
        stop, said = threading.Event(), list[str]()
        arguments = (self.settings("identity-ward3"), "ward3", desk or self.desk(), stop)
        thread = threading.Thread(target=serve, args=arguments, kwargs={"say": said.append})
        thread.start()
        try:
            until(lambda: any("connected" in text for text in said), what="the desk is connected")
            yield
        finally:
            stop.set()
            thread.join(PATIENCE_S)

    def join(
        self, token: Token, folder: Path, wait_s: float = PATIENCE_S
    ) -> certificates.Certificate:
        store = IdentityStore(folder)
        return join(
            self.enrolment, token, store, self.ca.read_bytes(), wait_s=wait_s, ask_again_s=0.2
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def site(made: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("TOCSIN_MQTT_PASSWORD", "secret")
    made.broker.start()
    yield made
    made.broker.stop()
    (made.ca.parent / "mosquitto.db").unlink(missing_ok=True)  # the sessions of this test


def test_from_broker_authority_and_token_to_a_certificate_that_the_broker_accepts(
    tmp_path: Path, site: Site
) -> None:
    def call(*arguments: object) -> str:
        result = CliRunner().invoke(cli, ["identity", *map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.output

    text = call("token", site.tokens.path, "--site", "ward3", "--device", "bed7")
    (tmp_path / "token").write_text(text)
    assert text.strip().split("/")[2] not in site.tokens.path.read_text(), "a hash is kept"
    folder, config = tmp_path / "identity", tmp_path / "tocsin.toml"
    with (
        site.serving(),
        Recorder(site.settings("reader"), "#", "reader") as recorder,
    ):
        call(
            "join", "--token-file", tmp_path / "token",
            "--broker", f"127.0.0.1:{site.enrolment_port}", "--ca-file", site.ca,
            "--folder", folder, "--config", config, "--agent-port", site.device_port,
        )  # fmt: skip
    assert text.strip().split("/")[2].encode() not in b"".join(m.payload for m in recorder.messages)
    settings = load_config(config).mqtt
    assert settings.tls is not None
    assert settings.tls.cert_file is not None
    assert IdentityStore(folder).current() is not None
    assert certificates.issued_by(Path(settings.tls.cert_file).read_bytes(), site.ca.read_bytes())
    connection = Connection(settings, "bed7")
    connection.open()
    connection.close()
    assert site.broker.logged(b"u'bed7'"), "the name in the certificate is the user"


def test_a_token_is_used_once_and_only_by_who_has_it(tmp_path: Path, site: Site) -> None:
    token, old = site.token(), site.token(hours=-1.0)
    with site.serving():
        with pytest.raises(SigningError, match="not known"):
            site.join(Token("ward3", "bed7", b"0" * 32), tmp_path / "wrong")
        with pytest.raises(SigningError, match="expired"):
            site.join(old, tmp_path / "late")
        with pytest.raises(SigningError, match="is for 'bed8', not for 'bed7'"):
            site.join(token._replace(device="bed8"), tmp_path / "other-name")
        first = site.join(token, tmp_path / "first")
        with pytest.raises(SigningError, match="used by another key"):
            site.join(token, tmp_path / "second")
    assert first.name == "bed7"
    assert IdentityStore(tmp_path / "second").current() is None


def test_a_request_that_is_sent_again_gets_the_same_certificate(tmp_path: Path, site: Site) -> None:
    token = site.token()
    with (
        site.serving(),
        Recorder(site.settings("reader"), "tocsin-enrolment/#", "reader") as recorder,
    ):
        site.join(token, tmp_path / "gateway")
        until(lambda: responses(recorder), what="the recorder has the request and the response")
        asked = next(m for m in recorder.messages if "/request/" in m.topic)
        connection = Connection(site.enrolment, "replay")
        connection.open()
        before = len(responses(recorder))
        connection.publish(asked.topic, asked.payload)
        until(lambda: connection.step(0.1) and len(responses(recorder)) > before)
        connection.close()
    assert len(set(responses(recorder))) == 1


def responses(recorder: Recorder) -> list[bytes]:
    return [m.payload for m in list(recorder.messages) if "/response/" in m.topic]


def test_a_broker_that_is_gone_midway_delays_the_certificate(tmp_path: Path, site: Site) -> None:
    token, found = site.token(), list[certificates.Certificate]()
    with Recorder(site.settings("reader"), REQUESTS, "reader") as recorder:
        thread = threading.Thread(
            target=lambda: found.append(site.join(token, tmp_path / "gateway"))
        )
        thread.start()
        until(lambda: recorder.messages, what="the gateway asks, and nobody answers")
    # The desk has signed, and the answer is lost with the broker.
    desk = site.desk()
    assert desk.answer(recorder.messages[0], datetime.now(UTC)) is not None
    site.broker.kill()
    site.broker.start()
    with site.serving():
        thread.join(PATIENCE_S)
    assert [one.name for one in found] == ["bed7"]


def test_a_request_that_breaks_the_desk_keeps_no_other_from_its_certificate(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, answered = site.desk(), Desk.answer

    def answer(self: Desk, message: Message, now: datetime) -> Message | None:
        if message.payload == b"breaks":
            raise ValueError("injected: of a library")
        return answered(self, message, now)

    monkeypatch.setattr(Desk, "answer", answer)
    with site.serving(desk):
        stranger = Connection(site.enrolment, "stranger")
        stranger.open()
        mid = stranger.publish("tocsin-enrolment/v1/ward3/request/1", b"breaks")
        until(lambda: mid in {ack.mid for ack in stranger.step(0.1).acks})
        stranger.close()
        assert site.join(site.token(), tmp_path / "gateway").name == "bed7"


def test_two_joins_with_one_token_at_once(tmp_path: Path, site: Site) -> None:
    token, found = site.token(), list[str]()

    def joining(folder: str) -> None:
        try:
            found.append(site.join(token, tmp_path / folder).name)
        except SigningError as error:
            found.append(str(error))

    with site.serving():
        threads = [threading.Thread(target=joining, args=(name,)) for name in ("a", "a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    refused = [text for text in found if "used by another key" in text]
    assert len(found) == 3
    assert len(refused) in {1, 2}, "gateway b, or gateway a twice: one key has it"
    assert found.count("bed7") == 3 - len(refused)


def test_without_a_desk_the_gateway_says_what_is_missing(tmp_path: Path, site: Site) -> None:
    with pytest.raises(DeliveryError, match="does `tocsin identity serve` run at ward3"):
        site.join(site.token(), tmp_path / "gateway", wait_s=1.0)
    site.broker.stop()
    with pytest.raises(DeliveryError):
        site.join(site.token(), tmp_path / "gateway", wait_s=1.0)


def test_a_client_without_a_certificate_reaches_nothing_but_enrolment(site: Site) -> None:
    with Recorder(site.settings("reader"), "#", "reader") as recorder:
        connection = Connection(site.enrolment, "stranger")
        connection.open()
        refused = {
            connection.publish(topic, b"{}")
            for topic in ("tocsin/v1/ward3/bed7/alert/high", "tocsin-enrolment/v1/ward3/response/1")
        }
        allowed = connection.publish("tocsin-enrolment/v1/ward3/request/1", b"{}")
        acks = dict[int, str]()
        until(
            lambda: (
                acks.update((a.mid, a.refusal) for a in connection.step(0.1).acks) or len(acks) == 3
            )
        )
        connection.close()
        until(lambda: recorder.messages)
    assert {mid for mid, refusal in acks.items() if refusal} == refused
    assert not acks[allowed]
    assert [m.topic for m in recorder.messages] == ["tocsin-enrolment/v1/ward3/request/1"]


def test_a_running_agent_states_that_a_renewal_is_due_and_renews_where_the_site_answers(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "_FIRST_LOOK_S", 0.2)
    monkeypatch.setattr(renewal, "LOOK_S", 0.2)
    store, token = IdentityStore(tmp_path / "identity"), site.token()
    # A day of thirty is left.
    old = datetime.now(UTC) - timedelta(days=29)
    asked = store.enrol("bed7", site.ca.read_bytes())
    signed = certificates.sign(
        asked, site.ca.read_bytes(), site.key.read_bytes(), token.device, days=30, now=old
    )
    before = store.install(signed, datetime.now(UTC))
    settings = quick(
        site.device_port,
        health_s=0.2,
        tls=TlsSettings(
            ca_file=str(site.ca),
            cert_file=str(store.folder / "current" / "cert.pem"),
            key_file=str(store.folder / "current" / "key.pem"),
        ),
    )
    path = tmp_path / "tocsin.toml"
    path.write_text('site = "ward3"\ndevice = "bed7"\n[source]\nuri = "synthetic"\n')
    config = msgspec.structs.replace(load_config(path), mqtt=settings)
    models = FieldModels.from_settings(config.model, tmp_path / "o.db")
    with (
        Recorder(site.settings("reader"), "tocsin/v1/#", "reader") as recorder,
        Outbox(tmp_path / "o.db") as outbox,
        Assembly(config, models, outbox, publish=True) as assembly,
    ):
        until(lambda: "is to be renewed" in last_health(recorder), what="health states it")
        assert [f.code for f in assembly.take_faults()] == [renewal.CERTIFICATE_ENDS]
        with site.serving():
            until(lambda: current(store).ends > before.ends, what="it is renewed")
        until(lambda: "is to be renewed" not in last_health(recorder))
        assert assembly.take_faults() == []
    assert not any("PRIVATE" in m.payload.decode() for m in recorder.messages)


def current(store: IdentityStore) -> certificates.Certificate:
    found = store.current()
    assert found is not None
    return found


def last_health(recorder: Recorder) -> str:
    found = recorder.payloads(Branch.HEALTH)
    return " ".join(msgspec.json.decode(found[-1], type=DeliveryHealth).faults) if found else ""

"""Delivery through a real broker, in both versions of MQTT."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.brokers import Mosquitto, Recorder, add_users, authority, quick, until
from support.factories import make_alert, make_episode, make_strip
from support.programs import PATIENCE_S, child_environment
from tocsin_agent.delivery import sender
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.delivery.settings import EscalationSettings, PresenceSettings
from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.messages.alert import Alert, Kind, Phase, Priority
from tocsin_agent.messages.health import BrokerState
from tocsin_agent.messages.info import Info, encode_info
from tocsin_agent.messages.lease import LeaseState, decode_lease, encode_lease, make_lease
from tocsin_agent.messages.topics import Branch, Topics
from tocsin_agent.mqtt.connection import Connection, publish_retained
from tocsin_agent.mqtt.events import Message
from tocsin_agent.mqtt.settings import MqttSettings, TlsSettings

pytestmark = pytest.mark.broker


# Nothing is repeated on a busy machine, nor when a test moves the clock.
NEVER = EscalationSettings(levels=(("bedside", 86400.0), ("team", 86400.0)), repeat_s=86400.0)
INFO = Info(version="1", alert_schema="", configuration="", models={}, source="")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer than in production until the broker has taken the status `stopped`."""
    monkeypatch.setattr(sender, "_STOPPED_STATUS_S", PATIENCE_S)


class Clock:
    """UTC as the publisher knows it; a test moves it instead of waiting."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@contextmanager
def agent(
    folder: Path, mqtt: MqttSettings, clock: Clock | None = None
) -> Iterator[tuple[Outbox, Publisher]]:
    with Outbox(folder / "o.db") as outbox:
        publisher = Publisher(
            outbox,
            mqtt,
            site="ward3",
            device="bed7",
            presence=PresenceLedger(PresenceSettings(settle_s=0.1)),
            info=INFO,
            answers=outbox.answers,
            escalation=NEVER,
            utc=clock or Clock(),
        )
        publisher.start()
        try:
            yield outbox, publisher
        finally:
            publisher.stop(0.5)


def keys(alerts: list[Alert]) -> list[tuple[str, int]]:
    return [(alert.alert_id, alert.sequence) for alert in alerts]


def states(recorder: Recorder) -> list[str]:
    return [json.loads(payload)["state"] for payload in recorder.payloads(Branch.STATUS)]


def test_alerts_reach_the_team_by_kind_and_priority(tmp_path: Path, mqtt: MqttSettings) -> None:
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append(list(make_episode()))
        outbox.append([make_alert(code="lead_off", kind=Kind.TECHNICAL, priority=Priority.LOW)])
        assert publisher.drained(PATIENCE_S)
        until(lambda: len(recorder.team()) == 4)
        topics = [
            m.topic for m in recorder.messages if "/alert/" in m.topic or "/technical" in m.topic
        ]
        high = "tocsin/v1/ward3/bed7/alert/high"
        assert topics[0] == high
        assert Counter(topics) == {high: 3, "tocsin/v1/ward3/bed7/technical/low": 1}
        # The next document of an episode is sent when the broker has the one before.
        assert [a.sequence for a in recorder.alerts(Branch.ALERT)] == [1, 2, 3]
        for alert in recorder.team():
            assert alert.published_at is not None
            assert alert.presence is not None
            assert (alert.presence.attended, alert.presence.reason) == (False, "none")
        assert recorder.payloads(Branch.INFO) == [encode_info(INFO)]
        until(lambda: publisher.health().delivered == 4)  # counted once it is recorded
        health = publisher.health()
        assert (health.state, health.pending) == (BrokerState.ONLINE, 0)


def test_the_graver_of_what_waited_goes_first(tmp_path: Path, mqtt: MqttSettings) -> None:
    priorities = [Priority.LOW, Priority.MEDIUM, Priority.HIGH]
    with Outbox(tmp_path / "o.db") as outbox:
        outbox.append([make_alert(n, priority=priorities[n % 3]) for n in range(60)])
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (_, publisher):
        assert publisher.drained(PATIENCE_S)
        until(lambda: len(recorder.team()) == 60)
        assert [a.priority.rank for a in recorder.team()] == [0] * 20 + [1] * 20 + [2] * 20


def test_the_status_is_online_stopped_or_offline(tmp_path: Path, mqtt: MqttSettings) -> None:
    with Recorder(mqtt) as recorder:
        with agent(tmp_path, mqtt) as (_, publisher):
            assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
        assert publisher.state is BrokerState.STOPPED
        until(lambda: states(recorder) == ["online", "stopped"])
    program = (
        "import sys, time; from pathlib import Path; import msgspec\n"
        "from tocsin_agent.delivery.outbox import Outbox\n"
        "from tocsin_agent.delivery.publisher import Publisher\n"
        "from tocsin_agent.messages.health import BrokerState\n"
        "from tocsin_agent.mqtt.connection import MqttSettings\n"
        "mqtt = msgspec.json.decode(sys.argv[2], type=MqttSettings)\n"
        "p = Publisher(Outbox(Path(sys.argv[1])), mqtt, site='ward3', device='bed7'); p.start()\n"
        "print(p.reached(BrokerState.ONLINE, 120), flush=True); time.sleep(600)"
    )
    with Recorder(mqtt, name="other") as recorder:
        process = spawn(program, tmp_path / "o.db", mqtt)
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        process.kill()
        process.wait()
        process.stdout.close()
        until(lambda: states(recorder)[-2:] == ["online", "offline"])
    with Recorder(mqtt, name="late") as late:
        until(lambda: states(late) == ["offline"])


def spawn(program: str, path: Path, mqtt: MqttSettings) -> subprocess.Popen[str]:
    import msgspec

    return subprocess.Popen(
        [sys.executable, "-c", program, str(path), msgspec.json.encode(mqtt).decode()],
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
    )


PRODUCER = """
import sys
from pathlib import Path
import msgspec
from support.factories import make_episode
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.mqtt.settings import MqttSettings
outbox = Outbox(Path(sys.argv[1]))
mqtt = msgspec.json.decode(sys.argv[2], type=MqttSettings)
publisher = Publisher(outbox, mqtt, site="ward3", device="bed7", answers=outbox.answers)
publisher.start()
for n in range(200):
    for alert in make_episode(n):
        outbox.append([alert])
        publisher.wake()
    print(n, flush=True)
publisher.drained(120)
publisher.stop()
print("done", flush=True)
"""


def test_killed_with_the_broker_down_everything_arrives_and_once(
    tmp_path: Path, mosquitto: Mosquitto, mqtt: MqttSettings
) -> None:
    with Recorder(mqtt) as recorder:
        process = spawn(PRODUCER, tmp_path / "o.db", mqtt)
        assert process.stdout is not None
        while int(process.stdout.readline()) < 20:
            pass
        mosquitto.kill()
        while int(process.stdout.readline()) < 40:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with Outbox(tmp_path / "o.db") as outbox:
            assert outbox.pending() > 0
        mosquitto.start()
        # The recording is read again from its beginning, as after any restart.
        process = spawn(PRODUCER, tmp_path / "o.db", mqtt)
        assert process.stdout is not None
        assert process.stdout.read().endswith("done\n")
        process.wait()
        process.stdout.close()
        expected = {key for n in range(200) for key in keys(list(make_episode(n)))}
        until(lambda: set(keys(recorder.team())) == expected)
        # Only what was unacknowledged when the broker was killed may arrive a second time.
        twice = [key for key, times in Counter(keys(recorder.team())).items() if times > 1]
        assert len(twice) <= mqtt.inflight
        assert recorder.bedside() == []


def test_nothing_new_is_sent_when_a_recording_is_read_again(
    tmp_path: Path, mqtt: MqttSettings
) -> None:
    with Recorder(mqtt) as recorder:
        for _ in range(2):
            with agent(tmp_path, mqtt) as (outbox, publisher):
                outbox.append(list(make_episode()))
                assert publisher.drained(PATIENCE_S)
        until(lambda: states(recorder) == ["online", "stopped"] * 2)
        assert len(recorder.team()) == 3


def test_a_broker_that_restarts_loses_no_alert(
    tmp_path: Path, mosquitto: Mosquitto, mqtt: MqttSettings
) -> None:
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([make_alert(1)])
        assert publisher.drained(PATIENCE_S)
        mosquitto.kill()
        assert publisher.reached(BrokerState.UNREACHABLE, PATIENCE_S)
        assert "start the broker" in publisher.last_error
        outbox.append([make_alert(2)])
        assert not publisher.drained(0.2)
        mosquitto.start()
        assert publisher.drained(PATIENCE_S)
        until(lambda: set(keys(recorder.team())) == set(keys([make_alert(1), make_alert(2)])))
        assert publisher.health().reconnects == 1
        assert publisher.last_error == ""


class FakeBroker:
    """Answers CONNECT, as often as it is asked, and nothing else."""

    def __init__(self, version: str) -> None:
        self.connections = 0
        self.received = b""
        self._version = version
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.05)
        self.port = self._server.getsockname()[1]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._server.accept()
            except TimeoutError:
                continue
            self.connections += 1
            with sock:
                sock.settimeout(0.05)
                sock.sendall(b"\x20\x03\x00\x00\x00" if self._version == "5" else b"\x20\x02\0\0")
                while not self._stopping.is_set():
                    try:
                        if not (received := sock.recv(65536)):
                            break
                        self.received += received
                    except TimeoutError:
                        continue
                    except OSError:
                        break

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._server.close()


def test_a_broker_that_never_acknowledges_is_dropped_and_tried_again(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_STOPPED_STATUS_S", 0.1)
    fake = FakeBroker(version)
    try:
        mqtt = quick(fake.port, version, ack_timeout_s=0.3)
        with agent(tmp_path, mqtt) as (outbox, publisher):
            outbox.append([make_alert()])
            assert publisher.reached(BrokerState.UNRESPONSIVE, PATIENCE_S)
            until(lambda: "acknowledged none" in publisher.last_error)
            until(lambda: fake.connections >= 3)
            assert outbox.pending() == 1
            assert publisher.health().delivered == 0
    finally:
        fake.close()


def test_a_stop_disconnects_from_a_broker_that_is_slow(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_STOPPED_STATUS_S", 0.1)
    fake = FakeBroker(version)
    try:
        with agent(tmp_path, quick(fake.port, version)) as (_, publisher):
            assert publisher.reached(BrokerState.SETTLING, PATIENCE_S)
        until(lambda: fake.received.endswith(b"\xe0\x00"), what="so that it publishes no will")
        assert b'"stopped"' in fake.received
    finally:
        fake.close()


def test_acknowledgements_that_are_unread_at_a_disconnect_cost_no_will(
    mosquitto: Mosquitto, version: str
) -> None:
    mqtt, topics = quick(mosquitto.port, version), Topics("ward3", "bed7")
    with Recorder(quick(mosquitto.port)) as recorder:
        for _ in range(5):
            connection = Connection(mqtt, "leaves", will=Message(topics.status, b"will"))
            connection.open()
            for _ in range(300):
                connection.publish(topics.health, b"{}", retain=False)
            connection.close()
        connection = Connection(mqtt, "last")
        connection.open()
        connection.publish(topics.info, b"{}", retain=False)
        until(lambda: recorder.payloads(Branch.INFO), what="what was published last")
        connection.close()
        assert recorder.payloads(Branch.STATUS) == []


def test_a_port_that_is_no_broker_is_named(tmp_path: Path, version: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        mqtt = quick(server.getsockname()[1], version, ack_timeout_s=0.2)
        with agent(tmp_path, mqtt) as (_, publisher):
            assert publisher.reached(BrokerState.UNREACHABLE, PATIENCE_S)
            until(lambda: "does not answer as an MQTT broker" in publisher.last_error)


# -- presence ---------------------------------------------------------------------------------


def take_presence(mqtt: MqttSettings, lease_s: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tocsin_agent", "presence", "take"),
            *("--host", mqtt.host, "--port", str(mqtt.port), "--mqtt-version", mqtt.version),
            *("--site", "ward3", "--id", "dr-k", "--lease-s", str(lease_s)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "present" in process.stdout.readline()
    return process


def say(
    mqtt: MqttSettings, payload: bytes, topic: str = "tocsin/v1/ward3/presence/cardiologist"
) -> None:
    connection = Connection(mqtt, "holder")
    connection.open()
    publish_retained(connection, topic, payload)
    connection.close()


def lease(lease_s: float, state: str = "present") -> bytes:
    return encode_lease(
        make_lease("cardiologist", "dr-k", lease_s, datetime.now(UTC), LeaseState(state))
    )


def assert_handed_over(recorder: Recorder, episode: list[Alert], reason: str) -> None:
    """Expect onset and latest document of the open episode, each once, marked as handed over."""
    until(lambda: len(recorder.team()) >= 2)
    handed = recorder.team()[:2]
    assert keys(handed) == keys([episode[0], episode[-1]])
    for alert in handed:
        assert alert.presence is not None
        assert alert.presence.handover
        assert not alert.presence.attended
        assert alert.presence.reason == reason


@pytest.mark.parametrize("ending", ["expiry", "release", "killed", "malformed"])
def test_while_attended_the_bedside_gets_it_all_and_then_the_team(
    tmp_path: Path, mqtt: MqttSettings, ending: str
) -> None:
    open_one = list(make_episode(1, updates=2, ended=False))
    closed = list(make_episode(2, priority=Priority.LOW))
    holder = None
    clock = Clock()
    if ending in {"expiry", "malformed"}:
        say(mqtt, lease(60))
    else:
        holder = take_presence(mqtt, 60)
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt, clock) as (outbox, publisher):
        outbox.append(open_one + closed)
        assert publisher.drained(PATIENCE_S)
        until(lambda: len(recorder.bedside()) == 6)
        assert recorder.team() == []
        for alert in recorder.bedside():
            assert alert.presence is not None
            assert alert.presence.attended
            assert (alert.presence.role, alert.presence.id) == ("cardiologist", "dr-k")
        if ending == "release":
            assert holder is not None
            holder.send_signal(signal.SIGINT)
        elif ending == "killed":
            assert holder is not None
            holder.kill()
        elif ending == "malformed":
            say(mqtt, b"?")
        else:
            clock.ahead = timedelta(seconds=61)
        reason = {"expiry": "expired", "malformed": "malformed"}.get(ending, "released")
        assert_handed_over(recorder, open_one, reason)
        outbox.append([make_alert(3)])
        publisher.wake()
        until(lambda: len(recorder.team()) == 3)
        assert recorder.team()[2].onset_index == 3
        assert publisher.drained(PATIENCE_S)
        assert len(recorder.bedside()) == 6
    assert len(recorder.team()) == 3
    if holder is not None:
        assert holder.wait(PATIENCE_S) == (0 if ending == "release" else -signal.SIGKILL)
        assert holder.stdout is not None
        holder.stdout.close()


def test_a_restart_with_an_open_episode_hands_it_over(tmp_path: Path, mqtt: MqttSettings) -> None:
    episode = list(make_episode(1, updates=1, ended=False))
    say(mqtt, lease(60))
    with Recorder(mqtt) as recorder:
        with agent(tmp_path, mqtt) as (outbox, publisher):
            outbox.append(episode)
            assert publisher.drained(PATIENCE_S)
            until(lambda: len(recorder.bedside()) == 2)
        # Still attended: a restart alone sends the team nothing.
        with agent(tmp_path, mqtt) as (_, publisher):
            assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
        assert recorder.team() == []
        say(mqtt, lease(0, "released"))
        with agent(tmp_path, mqtt) as (_, publisher):
            assert_handed_over(recorder, episode, "released")
        with agent(tmp_path, mqtt) as (_, publisher):
            assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
            assert publisher.drained(PATIENCE_S)
        until(lambda: states(recorder).count("stopped") == 4)
        assert len(recorder.team()) == 2


def test_a_reconnection_under_a_live_lease_sends_the_team_nothing(
    tmp_path: Path, mosquitto: Mosquitto, mqtt: MqttSettings
) -> None:
    say(mqtt, lease(60))
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append(list(make_episode(1, updates=0, ended=False)))
        assert publisher.drained(PATIENCE_S)
        until(lambda: len(recorder.bedside()) == 1)
        mosquitto.stop()
        assert publisher.reached(BrokerState.UNREACHABLE, PATIENCE_S)
        assert publisher.health().presence.reason == "unknown"
        outbox.append([make_alert(2)])
        mosquitto.start()
        assert publisher.drained(PATIENCE_S)
        until(lambda: len(recorder.bedside()) == 2)
        assert recorder.team() == []


def test_the_team_receives_the_end_of_an_episode_that_it_knows(
    tmp_path: Path, mqtt: MqttSettings
) -> None:
    onset, end = make_episode(1, updates=0)
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([onset])
        assert publisher.drained(PATIENCE_S)
        say(mqtt, lease(60))
        until(lambda: publisher.health().presence.attended)
        outbox.append([end])
        publisher.wake()
        until(lambda: keys(recorder.bedside()) == keys([end]))
        until(lambda: keys(recorder.team()) == keys([onset, end]))
        say(mqtt, lease(0, "released"))
        until(lambda: not publisher.health().presence.attended)
        outbox.append([make_alert(3)])
        publisher.wake()
        until(lambda: len(recorder.team()) >= 3)
        assert keys(recorder.team()) == keys([onset, end, make_alert(3)]), "none of them again"


def test_presence_take_renews_its_lease(mqtt: MqttSettings) -> None:
    holder = take_presence(mqtt, 1.0)
    with Recorder(mqtt) as recorder:
        until(lambda: len(recorder.payloads(Branch.PRESENCE)) >= 4)
        holder.send_signal(signal.SIGTERM)
        assert holder.wait(PATIENCE_S) == 0
        until(lambda: b'"released"' in recorder.payloads(Branch.PRESENCE)[-1])
    assert holder.stdout is not None
    holder.stdout.close()
    *leases, _ = map(decode_lease, recorder.payloads(Branch.PRESENCE))
    ends = [made.expires_at for made in leases]
    assert ends == sorted(set(ends)), "each renewal ends later"
    assert {(made.role, made.id) for made in leases} == {("cardiologist", "dr-k")}


# -- refusals ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificates")
    return authority(folder, "right"), authority(folder, "wrong")


@pytest.fixture
def tls_broker(tmp_path: Path, certificates: tuple[Path, Path]) -> Iterator[Mosquitto]:
    cert, _ = certificates
    folder = tmp_path / "tls"
    folder.mkdir()
    broker = Mosquitto(
        folder,
        "listener {port} 127.0.0.1\nallow_anonymous true\n"
        f"certfile {cert}\nkeyfile {cert.with_suffix('.key')}\n",
    )
    broker.start()
    yield broker
    broker.stop()


def test_over_tls_with_the_right_authority(
    tmp_path: Path, tls_broker: Mosquitto, certificates: tuple[Path, Path], version: str
) -> None:
    tls = TlsSettings(ca_file=str(certificates[0]))
    mqtt = quick(tls_broker.port, version, tls=tls)
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([make_alert(n, strip=make_strip(10, leads=3)) for n in range(50)])
        assert publisher.drained(PATIENCE_S)
        until(lambda: len(recorder.team()) == 50)


def test_a_wrong_authority_is_named_and_tried_again(
    tmp_path: Path, tls_broker: Mosquitto, certificates: tuple[Path, Path], version: str
) -> None:
    tls = TlsSettings(ca_file=str(certificates[1]))
    with agent(tmp_path, quick(tls_broker.port, version, tls=tls)) as (outbox, publisher):
        outbox.append([make_alert()])
        assert publisher.reached(BrokerState.TLS, PATIENCE_S)
        assert "mqtt.tls.ca_file" in publisher.last_error
        assert publisher.reached(BrokerState.CONNECTING, PATIENCE_S)
        assert outbox.pending() == 1


def test_a_missing_certificate_file_is_named(tmp_path: Path, mosquitto: Mosquitto) -> None:
    tls = TlsSettings(ca_file=str(tmp_path / "none.pem"))
    with agent(tmp_path, quick(mosquitto.port, tls=tls)) as (_, publisher):
        assert publisher.reached(BrokerState.TLS, PATIENCE_S)
        assert "ca_file" in publisher.last_error


def test_a_plain_connection_to_a_tls_port_is_named(
    tmp_path: Path, tls_broker: Mosquitto, version: str
) -> None:
    with agent(tmp_path, quick(tls_broker.port, version)) as (_, publisher):
        assert publisher.reached(BrokerState.UNREACHABLE, PATIENCE_S)
        assert "mqtt.tls if that port expects TLS" in publisher.last_error


def test_tls_to_a_plain_port_is_named(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with agent(tmp_path, quick(mosquitto.port, tls=TlsSettings())) as (_, publisher):
        until(lambda: publisher.state in {BrokerState.TLS, BrokerState.UNREACHABLE})
        assert "mqtt." in publisher.last_error


@pytest.fixture
def strict_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """Asks for a password, and lets bed7 write below its own topics only."""
    folder = tmp_path / "strict"
    folder.mkdir()
    add_users(folder / "passwd", "secret", "bed7", "recorder")
    (folder / "acl").write_text(
        "user bed7\ntopic write tocsin/v1/ward3/bed7/#\n"
        "topic deny tocsin/v1/ward3/bed7/alert/low\ntopic read tocsin/v1/ward3/presence/#\n"
        "user recorder\ntopic read tocsin/#\n"
    )
    broker = Mosquitto(
        folder,
        "listener {port} 127.0.0.1\nallow_anonymous false\n"
        f"password_file {folder / 'passwd'}\nacl_file {folder / 'acl'}\n",
    )
    broker.start()
    yield broker
    broker.stop()


def test_refused_credentials_are_named_and_tried_again(
    tmp_path: Path, strict_broker: Mosquitto, version: str
) -> None:
    password = tmp_path / "password"
    password.write_text("wrong\n")
    mqtt = quick(strict_broker.port, version, username="bed7", password_file=str(password))
    with agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([make_alert()])
        assert publisher.reached(BrokerState.REFUSED, PATIENCE_S)
        assert "mqtt.password_file" in publisher.last_error
        assert "wrong" not in publisher.last_error
        password.write_text("secret\n")  # mended while it runs
        assert publisher.drained(PATIENCE_S)


def test_the_password_may_come_from_the_environment(
    tmp_path: Path, strict_broker: Mosquitto, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_MQTT_PASSWORD", "secret")
    mqtt = quick(strict_broker.port, version, username="bed7")
    with agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([make_alert()])
        assert publisher.drained(PATIENCE_S)


def test_a_topic_that_the_access_list_forbids_delays_nothing_else(
    tmp_path: Path, strict_broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_MQTT_PASSWORD", "secret")
    recorders = quick(strict_broker.port, username="recorder")
    mqtt = quick(strict_broker.port, username="bed7")
    with Recorder(recorders) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append([make_alert(1, priority=Priority.LOW), make_alert(2)])
        publisher.wake()
        until(lambda: keys(recorder.team()) == keys([make_alert(2)]))
        until(lambda: outbox.pending() == 1)


def test_an_alert_too_large_for_the_broker_goes_without_its_strip(
    tmp_path: Path, version: str
) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    broker = Mosquitto(
        folder, "listener {port} 127.0.0.1\nallow_anonymous true\nmax_packet_size 8000\n"
    )
    broker.start()
    mqtt = quick(broker.port, version)
    try:
        with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
            # MQTT 3.1.1 cannot state a limit: the agent concludes it from three lost connections.
            outbox.append([make_alert(1, strip=make_strip(10)), make_alert(2)])
            assert publisher.drained(PATIENCE_S)
            until(lambda: len({a.onset_index for a in recorder.team()}) == 2)
            assert all(alert.strip is None for alert in recorder.team())
    finally:
        broker.stop()


def test_a_stop_without_a_broker_keeps_what_waits(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o.db") as outbox:
        publisher = Publisher(outbox, quick(1), site="ward3", device="bed7")
        publisher.start()
        outbox.append([make_alert()])
        assert not publisher.stop(0.2)
        assert outbox.pending() == 1
        assert publisher.state is BrokerState.STOPPED


def test_health_is_published(tmp_path: Path, mosquitto: Mosquitto) -> None:
    mqtt = quick(mosquitto.port, health_s=0.1)
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt):
        until(lambda: len(recorder.payloads(Branch.HEALTH)) >= 2)
        health = json.loads(recorder.payloads(Branch.HEALTH)[-1])
        assert health["schema"] == "tocsin/health/v1"
        assert health["state"] == "online"
        assert (health["pending"], health["dropped"]) == (0, 0)


def test_a_lease_of_another_site_or_role_does_not_count(tmp_path: Path, mqtt: MqttSettings) -> None:
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
        for topic in ("ward4/presence/cardiologist", "ward3/presence/porter"):
            say(mqtt, lease(60), f"tocsin/v1/{topic}")
        outbox.append([make_alert(1, phase=Phase.ONSET)])
        assert publisher.drained(PATIENCE_S)
        until(lambda: len(recorder.team()) == 1)
        assert recorder.bedside() == []


def refuse(*_: object, **__: object) -> None:
    raise DeliveryError(DeliveryFault.OUTBOX_FULL, "the disk is full")


def test_a_disk_that_cannot_record_a_delivery_sends_nothing_twice(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    mqtt = quick(mosquitto.port)
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
        outbox.append([make_alert(1)])
        with monkeypatch.context() as patch:
            patch.setattr(outbox, "mark_delivered", refuse)
            publisher.wake()
            until(lambda: len(recorder.team()) == 1)
            until(lambda: publisher._sender._memory.unrecorded, what="it is acknowledged")
            mosquitto.stop()
            assert publisher.reached(BrokerState.UNREACHABLE, PATIENCE_S)
            mosquitto.start()
            assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
            assert outbox.pending() == 1
        assert publisher.drained(PATIENCE_S)
        assert len(recorder.team()) == 1


def test_a_disk_that_cannot_hand_over_delays_no_alert(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    mqtt = quick(mosquitto.port)
    episode = list(make_episode(1, updates=0, ended=False))
    say(mqtt, lease(60))
    with Recorder(mqtt) as recorder, agent(tmp_path, mqtt) as (outbox, publisher):
        outbox.append(episode)
        assert publisher.drained(PATIENCE_S)
        with monkeypatch.context() as patch:
            patch.setattr(outbox, "hand_over", refuse)
            say(mqtt, lease(0, "released"))
            until(lambda: not publisher.health().presence.attended)
            outbox.append([make_alert(2)])
            publisher.wake()
            until(lambda: keys([make_alert(2)])[0] in keys(recorder.team()))
        until(lambda: set(keys(recorder.team())) == set(keys([make_alert(2), *episode])))


def test_an_outbox_that_cannot_be_read_ends_no_thread(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    with agent(tmp_path, quick(mosquitto.port)) as (outbox, publisher):
        assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
        with monkeypatch.context() as patch:
            patch.setattr(outbox, "waiting", refuse)
            assert publisher.reached(BrokerState.LOST, PATIENCE_S)
            assert "disk" in publisher.last_error
        outbox.append([make_alert()])
        assert publisher.drained(PATIENCE_S)

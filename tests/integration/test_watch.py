"""`tocsin watch` and `tocsin presence` as programs, on mosquitto and the embedded broker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.brokers import Mosquitto, Recorder, quick, until
from support.factories import make_alert, make_episode, make_strip
from support.programs import PATIENCE_S
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.messages.lease import decode_lease
from tocsin_agent.messages.topics import Branch, alert_filters, shared
from tocsin_agent.mqtt.connection import Connection, publish_retained
from tocsin_agent.mqtt.embedded import MAX_PAYLOAD_BYTES, EmbeddedBroker
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.team.feed import AlertSeen
from tocsin_agent.team.receiver import Receiver

pytestmark = pytest.mark.broker


def tocsin(mqtt: MqttSettings, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "tocsin_agent", *arguments),
            *("--broker", f"{mqtt.host}:{mqtt.port}", "--mqtt-version", mqtt.version),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def publish(folder: Path, mqtt: MqttSettings, first: int, count: int) -> None:
    with (
        Outbox(folder / "o.db") as outbox,
        Publisher(outbox, mqtt, site="ward3", device="bed7") as publisher,
    ):
        outbox.append([make_alert(first + n, strip=make_strip()) for n in range(count)])
        assert publisher.drained(PATIENCE_S)


def retain(mqtt: MqttSettings, topic: str, payload: bytes) -> None:
    connection = Connection(mqtt, "someone")
    connection.open()
    publish_retained(connection, topic, payload)
    connection.close()


def test_watch_shows_each_alert_and_survives_malformed_payloads(
    tmp_path: Path, mqtt: MqttSettings
) -> None:
    retain(mqtt, "tocsin/v1/ward3/bed9/alert/high", b"\x1b[2Jnonsense")
    watch = tocsin(mqtt, "watch", "--count", "3", "--timeout", str(PATIENCE_S))
    assert watch.stdout is not None
    assert "malformed" in watch.stdout.readline()
    with Outbox(tmp_path / "o.db") as outbox:
        outbox.append(list(make_episode()))
        with Publisher(outbox, mqtt, site="ward3", device="bed7") as publisher:
            assert publisher.drained(PATIENCE_S)
        out, err = watch.communicate(timeout=PATIENCE_S)
    assert watch.returncode == 0
    assert [word for word in ("begins", "goes on", "has ended") if word in out] == [
        "begins",
        "goes on",
        "has ended",
    ]
    assert "ward3/bed7 is online" in out
    assert "\x1b" not in out
    assert "connected to" in err


def test_a_session_keeps_alerts_while_the_watch_is_away(tmp_path: Path, mqtt: MqttSettings) -> None:
    arguments = (
        "watch",
        "--session",
        "night",
        "--json",
        "--timeout",
        str(PATIENCE_S),
        "--count",
        "5",
    )
    publish(tmp_path, mqtt, 0, 1)
    first = tocsin(mqtt, *arguments)
    assert first.stdout is not None
    while json.loads(first.stdout.readline())["type"] != "status":
        pass
    publish(tmp_path, mqtt, 10, 5)
    out, _ = first.communicate(timeout=PATIENCE_S)
    seen = {r["alert"]["onset_index"] for r in map(json.loads, out.splitlines()) if "alert" in r}
    publish(tmp_path, mqtt, 20, 5)
    second = tocsin(mqtt, *arguments)
    out, _ = second.communicate(timeout=PATIENCE_S)
    seen |= {r["alert"]["onset_index"] for r in map(json.loads, out.splitlines()) if "alert" in r}
    assert (first.returncode, second.returncode) == (0, 0)
    assert seen == {10, 11, 12, 13, 14, 20, 21, 22, 23, 24}


def test_the_share_of_a_member_with_a_session_waits_for_it(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    def member(name: str) -> Receiver:
        filters = shared(alert_filters("team"), "archive")
        return Receiver(quick(mosquitto.port), filters, client_id=name, keep_session=True)

    def join(receiver: Receiver, name: str) -> None:
        subscribed = f"{name} 1 $share/archive/".encode()
        until(lambda: (receiver.poll(0.05), mosquitto.logged(subscribed))[1] > 0, what=name)

    def take(receiver: Receiver, number: int) -> set[str]:
        found = set[str]()

        def taken() -> bool:
            for item in receiver.poll(0.1):
                receiver.shown(item)
                if isinstance(item, AlertSeen):
                    assert item.alert.alert_id not in found
                    found.add(item.alert.alert_id)
            return len(found) >= number

        until(taken, what=f"{number} alerts")
        return found

    with member("first") as first:
        join(first, "first")
        with member("second") as second:
            join(second, "second")
            publish(tmp_path, quick(mosquitto.port), 1, 8)
            shares = [take(first, 4), take(second, 4)]
        publish(tmp_path, quick(mosquitto.port), 100, 8)
        shares.append(take(first, 4))
        assert not [one for one in first.poll(0.5) if isinstance(one, AlertSeen)]
    with member("second") as second:
        shares.append(take(second, 4))
    assert [len(share) for share in shares] == [4, 4, 4, 4]
    assert len(set().union(*shares)) == 16


def test_too_few_alerts_before_the_timeout_is_exit_code_5(mosquitto: Mosquitto) -> None:
    watch = tocsin(quick(mosquitto.port), "watch", "--count", "1", "--timeout", "0.3")
    watch.communicate(timeout=PATIENCE_S)
    assert watch.returncode == 5


def test_an_unreachable_broker_is_reported_once_and_tried_again() -> None:
    watch = tocsin(quick(1), "watch", "--timeout", "1.5")
    _, err = watch.communicate(timeout=PATIENCE_S)
    assert watch.returncode == 0
    assert err.count("start the broker") == 1
    show = tocsin(quick(1), "presence", "show")
    _, err = show.communicate(timeout=PATIENCE_S)
    assert show.returncode == 5
    assert "start the broker" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch", "--site", "a/b"),
        ("watch", "--cert-file", "x.pem"),
        ("presence", "take", "--site", "#", "--id", "k"),
        ("presence", "take", "--site", "a", "--id", "k", "--lease-s", "601"),
        ("presence", "show", "--site", "a/b"),
    ],
)
def test_wrong_arguments_are_usage_errors(arguments: tuple[str, ...]) -> None:
    process = tocsin(quick(1), *arguments)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "Traceback" not in err


def test_presence_is_shown_and_released(mqtt: MqttSettings) -> None:
    def show() -> list[dict[str, object]]:
        out, _ = tocsin(mqtt, "presence", "show", "--json").communicate(timeout=PATIENCE_S)
        return [json.loads(line) for line in out.splitlines()]

    assert show() == []
    holder = tocsin(mqtt, "presence", "take", "--site", "ward3", "--id", "dr-k")
    assert holder.stdout is not None
    assert "dr-k is present" in holder.stdout.readline()
    expected = {"site": "ward3", "role": "cardiologist", "id": "dr-k"}
    until(lambda: show() == [expected | {"reason": "lease", "attended": True}])
    holder.terminate()
    out, _ = holder.communicate(timeout=PATIENCE_S)
    assert "dr-k has left" in out
    until(lambda: show() == [expected | {"reason": "released", "attended": False}])
    release = tocsin(mqtt, "presence", "release", "--site", "ward3")
    assert "released" in release.communicate(timeout=PATIENCE_S)[0]
    until(lambda: [entry["id"] for entry in show()] == ["command-line"])


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


def test_the_embedded_broker_carries_both_versions_and_large_alerts(
    tmp_path: Path, embedded: EmbeddedBroker, version: str
) -> None:
    mqtt = embedded.settings(version)
    with (
        Recorder(mqtt, name=f"recorder{version}") as recorder,
        Outbox(tmp_path / "o.db") as outbox,
        Publisher(outbox, mqtt, site="ward3", device="d" + version[0]) as publisher,
    ):
        outbox.append([make_alert(n, strip=make_strip(10, leads=12)) for n in range(10)])
        assert publisher.drained(PATIENCE_S)
        until(lambda: len(recorder.team()) == 10)
        assert 100_000 < max(len(m.payload) for m in recorder.messages) < MAX_PAYLOAD_BYTES
        assert all(alert.strip is not None for alert in recorder.team())
    assert recorder.payloads(Branch.STATUS)


def test_the_embedded_broker_refuses_a_port_that_is_in_use(
    embedded: EmbeddedBroker,
) -> None:
    from tocsin_agent.errors import DeliveryError

    with (
        pytest.raises(DeliveryError, match="choose other ports"),
        EmbeddedBroker(port_v5=embedded.port_v5),
    ):
        pass


def test_the_embedded_broker_ends_with_its_context() -> None:
    from tocsin_agent.errors import DeliveryError

    with EmbeddedBroker() as broker:
        mqtt = broker.settings()
    connection = Connection(mqtt, "late")
    with pytest.raises(DeliveryError, match="start the broker"):
        connection.open()


def test_a_lease_ends_unless_a_person_presses_enter_again(mqtt: MqttSettings) -> None:
    with Recorder(mqtt, "tocsin/v1/ward3/presence/+") as recorder:
        take = subprocess.Popen(
            [
                *(sys.executable, "-m", "tocsin_agent", "presence", "take", "--site", "ward3"),
                *("--id", "dr-k", "--confirm-every", "2s", "--broker", f"{mqtt.host}:{mqtt.port}"),
                *("--mqtt-version", mqtt.version),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

        def states() -> list[str]:
            leases = [decode_lease(payload) for payload in recorder.payloads(Branch.PRESENCE)]
            states = [lease.state.value for lease in leases]
            return [s for n, s in enumerate(states) if n == 0 or states[n - 1] != s]

        until(lambda: states() == ["present", "released"], what="nobody confirmed")
        first = decode_lease(recorder.payloads(Branch.PRESENCE)[0])
        assert (first.expires_at - first.issued_at).total_seconds() <= 2.0
        assert take.stdin is not None
        assert take.stderr is not None
        lines = [take.stderr.readline() for _ in range(2)]  # on a busy machine it asks too late
        assert any("Still present? Press Enter" in line for line in lines), lines
        assert "nobody confirmed: alerts go to the team\n" in lines
        take.stdin.write("\n")
        take.stdin.flush()
        until(lambda: states()[:3] == ["present", "released", "present"], what="present again")
        take.send_signal(signal.SIGTERM)
        take.communicate(timeout=PATIENCE_S)
        assert take.returncode == 0

"""`tocsin export hl7` and its MLLP client: acknowledgements, outages, TLS."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.brokers import Mosquitto, authority, free_port, quick, until
from support.factories import make_alert, make_episode, make_trend
from support.hl7_receivers import Hl7Receiver
from support.programs import PATIENCE_S
from tocsin_agent.errors import ExportError, ExportFault
from tocsin_agent.messages.alert import encode_alert
from tocsin_agent.messages.topics import Topics
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.team.export.hl7v2 import Addressee, alert_message, trend_message
from tocsin_agent.team.export.mllp import MllpClient
from tocsin_agent.team.export.transport import Security

MESSAGE = alert_message(make_alert(), Addressee())


def export(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tocsin_agent", "export", "hl7", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_one_connection_carries_many_messages() -> None:
    with Hl7Receiver() as receiver, MllpClient(receiver.url, Security()) as client:
        trend = trend_message(make_trend(), Addressee())
        assert trend is not None
        for message in (MESSAGE, trend, MESSAGE):
            client.send(message)
        assert receiver.received == [MESSAGE, trend, MESSAGE]
        assert receiver.connections == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("AE", ExportFault.REFUSED),
        ("CE", ExportFault.REFUSED),
        ("AR", ExportFault.UNREACHABLE),
        ("CR", ExportFault.UNREACHABLE),
        ("ZZ", ExportFault.UNREADABLE),
        ("nonsense", ExportFault.UNREADABLE),
        ("other", ExportFault.UNREADABLE),
        ("close", ExportFault.UNREACHABLE),
        ("silence", ExportFault.UNREACHABLE),
    ],
)
def test_each_answer_says_whether_to_try_again(answer: str, reason: ExportFault) -> None:
    with Hl7Receiver() as receiver:
        receiver.answers = [answer]
        timeout_s = 0.5 if answer == "silence" else PATIENCE_S
        with MllpClient(receiver.url, Security(), timeout_s=timeout_s) as client:
            with pytest.raises(ExportError) as found:
                client.send(MESSAGE)
            assert found.value.reason is reason
        with MllpClient(receiver.url, Security(), timeout_s=PATIENCE_S) as client:
            client.send(MESSAGE)  # the same again, to the last byte
        assert receiver.received == [MESSAGE, MESSAGE]


def test_a_connection_that_was_closed_while_idle_is_made_again() -> None:
    with Hl7Receiver() as receiver, MllpClient(receiver.url, Security()) as client:
        client.send(MESSAGE)
        receiver.answers = ["close"]
        client.send(MESSAGE)
        assert receiver.connections == 2


def test_the_certificate_is_verified(tmp_path: Path) -> None:
    cert = authority(tmp_path, "receiver")
    with Hl7Receiver(cert=cert) as receiver:
        with MllpClient(receiver.url, Security(ca_file=cert)) as client:
            client.send(MESSAGE)
        with (
            MllpClient(receiver.url, Security()) as client,
            pytest.raises(ExportError, match="not trusted"),
        ):
            client.send(MESSAGE)
        assert receiver.received == [MESSAGE]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mllp://hospital.example:2575", "--to-plaintext"),
        ("hospital.example", "mllps://HOST:PORT"),
        ("http://h:80", "mllps://HOST:PORT"),
        ("mllps://h:99999", "mllps://HOST:PORT"),
    ],
)
def test_an_unsafe_or_wrong_receiver_is_refused(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        MllpClient(url, Security())


def test_a_file_is_sent_and_one_refused_message_stops_no_other(tmp_path: Path) -> None:
    bad, good = make_alert(1), make_alert(2)
    lines = tmp_path / "night.jsonl"
    lines.write_bytes(b"\n".join(encode_alert(one) for one in (bad, good)))
    with Hl7Receiver() as receiver:
        receiver.refuses = lambda text: bad.alert_id in text
        program = export(str(lines), "--to", receiver.url)
        out, err = program.communicate(timeout=PATIENCE_S)
        assert (program.returncode, out) == (5, "1 sent, 1 refused, 0 waiting\n")
        assert "answers AE" in err
        assert good.alert_id in receiver.received[-1]
    program = export(str(lines), "-o", str(tmp_path / "out"))
    program.communicate(timeout=PATIENCE_S)
    assert program.returncode == 0
    assert (tmp_path / "out" / "000002.hl7").read_bytes().decode() == alert_message(
        good, Addressee()
    )


@pytest.mark.broker
def test_nothing_is_lost_while_the_receiver_is_away(tmp_path: Path, mosquitto: Mosquitto) -> None:
    port = free_port()
    bridge = export(
        *("--follow", "--broker", f"127.0.0.1:{mosquitto.port}"),
        *("--queue", str(tmp_path / "hl7.db"), "--to", f"mllp://127.0.0.1:{port}"),
    )
    until(lambda: mosquitto.logged(b"tocsin/v1/+/+/trend") > 0, what="subscribed")
    connection = Connection(quick(mosquitto.port), "device")
    connection.open()
    for alert in make_episode():
        topic = f"{Topics('ward3', 'bed7').base}/alert/{alert.priority}"
        connection.publish(topic, encode_alert(alert))
    acks = 0

    def published() -> bool:
        nonlocal acks
        acks += len(connection.step(0.2).acks)
        return acks >= 3

    until(published)
    connection.close()
    with Hl7Receiver(port=port) as receiver:
        until(lambda: len(receiver.taken()) == 3, what="all three arrive")
        bridge.send_signal(signal.SIGTERM)
        _, err = bridge.communicate(timeout=PATIENCE_S)
        assert bridge.returncode == 0, err
        phases = [str(m.segments("OBX")[3][5]) for m in receiver.taken()]
    assert phases == ["start", "continue", "end"]

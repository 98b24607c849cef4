"""`tocsin export fhir`: broker and server may be away, and one bad alert stops no other."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from support.brokers import Mosquitto, authority, free_port, quick, until
from support.factories import make_alert, make_episode, make_response, make_strip, make_trend
from support.fhir_servers import FhirDouble
from support.programs import PATIENCE_S
from tocsin_agent.errors import ExportError, ExportFault
from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.messages.alert import Alert, Audience, encode_alert
from tocsin_agent.messages.response import Outcome, encode_response
from tocsin_agent.messages.topics import Topics
from tocsin_agent.messages.trend import encode_trend
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.signing.keyring import Verdict
from tocsin_agent.team.export.answer import Answer
from tocsin_agent.team.export.bridge import Drain
from tocsin_agent.team.export.bridge import follow as follow_broker
from tocsin_agent.team.export.fhir import alert_resources, transaction
from tocsin_agent.team.export.fhir_server import FhirServer
from tocsin_agent.team.export.queue import Document, Queue
from tocsin_agent.team.export.transport import Security
from tocsin_agent.team.feed import AlertSeen


def export(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tocsin_agent", "export", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def follow(port: int, queue: Path, url: str) -> subprocess.Popen[str]:
    return export(
        *("fhir", "--follow", "--broker", f"127.0.0.1:{port}"),
        *("--queue", str(queue), "--to", url),
    )


def publish(
    port: int, documents: Sequence[Alert], trends: int = 0, answered: Sequence[Alert] = ()
) -> None:
    topics = Topics("ward3", "bed7")
    connection = Connection(quick(port), "device")
    connection.open()
    for alert in documents:
        connection.publish(f"{topics.base}/alert/{alert.priority}", encode_alert(alert))
    for number in range(trends):
        connection.publish(topics.trend, encode_trend(make_trend(number)))
    for alert in answered:
        connection.publish(topics.response(alert.alert_id), encode_response(make_response(alert)))
    waiting = len(documents) + trends + len(answered)

    def taken() -> bool:
        nonlocal waiting
        waiting -= len(connection.step(0.2).acks)
        return waiting <= 0

    until(taken, what="the broker has all")
    connection.close()


def ended(program: subprocess.Popen[str]) -> str:
    program.send_signal(signal.SIGTERM)
    _, err = program.communicate(timeout=PATIENCE_S)
    assert program.returncode == 0, err
    return err


@pytest.mark.broker
def test_nothing_is_lost_while_bridge_server_and_broker_are_away(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    port, queue = free_port(), tmp_path / "fhir.db"
    url = f"http://127.0.0.1:{port}/fhir"
    bridge = follow(mosquitto.port, queue, url)
    until(lambda: mosquitto.logged(b"tocsin/v1/+/+/trend") > 0, what="subscribed")
    publish(mosquitto.port, [make_alert(1)])  # the server does not run yet
    until(lambda: queue.exists() and _waiting(queue) == 1, what="committed")
    ended(bridge)
    subscribed = mosquitto.logged(b"tocsin/v1/+/+/trend")
    publish(mosquitto.port, [make_alert(2)], answered=[make_alert(1)])  # nor does the bridge
    with FhirDouble(port=port) as server:
        bridge = follow(mosquitto.port, queue, url)
        until(lambda: len(server.of("Flag")) == 2, what="both arrive")
        until(lambda: _staff(server) == ["nurse-7"], what="who accepted the first")
        until(
            lambda: mosquitto.logged(b"tocsin/v1/+/+/trend") > subscribed, what="subscribed again"
        )
        publish(mosquitto.port, [], trends=2)
        until(lambda: len([o for o in server.of("Observation") if "trend" in o["id"]]) == 2)
        mosquitto.stop()
        mosquitto.start()
        publish(mosquitto.port, list(make_episode(3)))
        until(lambda: len(server.of("Flag")) == 3, what="after the broker was away")
        until(lambda: any(f["status"] == "inactive" for f in server.of("Flag")), what="the end")
        err = ended(bridge)
    assert "0 refused, 0 waiting" in err
    assert max(server.versions[name] for name in server.versions if name.startswith("Obs")) <= 3


def _staff(server: FhirDouble) -> list[str]:
    agents = [one["agent"][0]["who"] for one in server.of("Provenance")]
    return [who["identifier"]["value"] for who in agents if who.get("type") == "Practitioner"]


def _waiting(file: Path) -> int:
    with Queue(file) as queue:
        return queue.counts().waiting


def test_a_file_is_sent_and_what_is_refused_is_named(tmp_path: Path) -> None:
    bad, good = make_alert(1), make_alert(2, strip=make_strip())
    lines = tmp_path / "night.jsonl"
    lines.write_bytes(b"\n".join(encode_alert(one) for one in (bad, good)))
    with FhirDouble() as server:
        server.refuses = lambda one: one["id"] == bad.alert_id
        program = export("fhir", str(lines), "--to", server.url, "--queue", str(tmp_path / "q.db"))
        out, err = program.communicate(timeout=PATIENCE_S)
        assert (program.returncode, out) == (5, "1 sent, 1 refused, 0 waiting\n")
        assert "this one is refused" in err
        assert [flag["id"] for flag in server.of("Flag")] == [good.alert_id]
        server.refuses = lambda _: False
        again = export("queue", str(tmp_path / "q.db"), "--retry", "--json")
        out, _ = again.communicate(timeout=PATIENCE_S)
        assert (json.loads(out)["waiting"], again.returncode) == (1, 0)


def test_ndjson_has_each_resource_once_as_the_last_document_has_it(tmp_path: Path) -> None:
    lines = tmp_path / "night.jsonl"
    lines.write_bytes(b"\n".join(encode_alert(one) for one in make_episode(3)))
    program = export("fhir", str(lines), "-o", str(tmp_path / "out"))
    _, err = program.communicate(timeout=PATIENCE_S)
    assert program.returncode == 0, err
    (flag,) = (tmp_path / "out" / "Flag.ndjson").read_text(encoding="utf-8").splitlines()
    assert json.loads(flag)["status"] == "inactive"


def test_sent_twice_is_there_once() -> None:
    bundle = transaction(alert_resources(make_alert(strip=make_strip())))
    with FhirDouble() as double:
        server = FhirServer(double.url, Security())
        server.send(bundle)
        server.send(bundle)
        assert set(double.versions.values()) == {1}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (422, ExportFault.REFUSED),
        (400, ExportFault.REFUSED),
        (413, ExportFault.REFUSED),
        (401, ExportFault.NOT_PERMITTED),
        (301, ExportFault.NOT_PERMITTED),
        (409, ExportFault.UNREACHABLE),
        (429, ExportFault.UNREACHABLE),
        (503, ExportFault.UNREACHABLE),
        (204, ExportFault.UNREADABLE),
    ],
)
def test_each_answer_says_whether_to_try_again(status: int, reason: ExportFault) -> None:
    with FhirDouble() as double:
        double.statuses = [status]
        with pytest.raises(ExportError) as found:
            FhirServer(double.url, Security()).send(transaction(alert_resources(make_alert())))
    assert found.value.reason is reason


def test_an_answer_that_confirms_a_part_is_no_confirmation() -> None:
    with FhirDouble() as double:
        double.leaves_out = 1
        with pytest.raises(ExportError, match="confirms 4 of 5") as found:
            FhirServer(double.url, Security()).send(transaction(alert_resources(make_alert())))
    assert found.value.reason is ExportFault.REFUSED


def test_an_answer_that_never_ends_is_given_up() -> None:
    """Each drop comes in time; together they would hold up every other alert."""
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            with contextlib.suppress(OSError):
                for _ in range(600):  # 30 s: a server that never ends would hang this test
                    if over.wait(0.05):
                        break
                    connection.sendall(b"1\r\n \r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/fhir"
        server = FhirServer(url, Security(), timeout_s=0.5)
        with pytest.raises(ExportError, match="end its answer") as found:
            server.send(transaction(alert_resources(make_alert())))
        over.set()
        thread.join(60)
    assert found.value.reason is ExportFault.UNREACHABLE


def test_another_database_is_no_queue(tmp_path: Path) -> None:
    file = tmp_path / "outbox.db"
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE row (x)")
        other.execute("PRAGMA user_version = 1")
    before = file.read_bytes()
    with pytest.raises(ExportError, match="another database"):
        Queue(file)
    assert file.read_bytes() == before


def test_tls_is_verified_and_a_token_is_sent(tmp_path: Path) -> None:
    cert, token = authority(tmp_path, "server"), tmp_path / "token"
    token.write_text("secret\n", encoding="ascii")
    bundle = transaction(alert_resources(make_alert()))
    with FhirDouble(cert=cert, token="secret") as double:  # noqa: S106 - of a test
        FhirServer(double.url, Security(ca_file=cert), token_file=token).send(bundle)
        assert double.of("Flag")
        with pytest.raises(ExportError, match="not trusted"):
            FhirServer(double.url, Security(), token_file=token).send(bundle)
        token.write_text("no\nheader: of this kind", encoding="ascii")
        with pytest.raises(ExportError, match="one line expected") as found:
            FhirServer(double.url, Security(ca_file=cert), token_file=token).send(bundle)
        assert found.value.reason is ExportFault.NOT_PERMITTED
        with pytest.raises(ExportError, match="token is needed"):
            FhirServer(double.url, Security(ca_file=cert)).send(bundle)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://hospital.example/fhir", "--to-plaintext"),
        ("https://me:secret@h/fhir", "--to-token-file"),
        ("ftp://h/fhir", "https://HOST/PATH"),
        ("fhir", "https://HOST/PATH"),
    ],
)
def test_an_unsafe_or_wrong_url_is_refused(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FhirServer(url, Security())


def drained(queue: Queue, drain: Drain, steps: int = 200) -> None:
    for _ in range(steps):
        if drain.step() < 0:
            return
    pytest.fail(f"{queue.counts()} after {steps} steps")


def test_one_alert_that_the_server_cannot_take_stops_no_other(tmp_path: Path) -> None:
    taken = list[str]()

    def send(document: object, item: object) -> None:  # noqa: ARG001
        assert isinstance(document, Alert)
        if document.onset_index == 1:
            raise ExportError(ExportFault.UNREACHABLE, "500: this one breaks the server")
        taken.append(document.alert_id)

    with Queue(tmp_path / "q.db") as queue:
        queue.put([make_alert(n) for n in range(1, 8)])
        drained(queue, Drain(queue, send, min_s=0.001, max_s=0.001))
        assert (queue.counts().sent, queue.counts().refused) == (6, 1)
        assert "breaks the server" in queue.set_aside()[0][1]
    assert len(set(taken)) == len(taken) == 6


def test_in_an_outage_nothing_is_set_aside_and_the_order_of_an_alert_stays(tmp_path: Path) -> None:
    taken, down = list[tuple[str, int]](), [True]

    def send(document: object, item: object) -> None:  # noqa: ARG001
        assert isinstance(document, Alert)
        if down[0]:
            raise ExportError(ExportFault.UNREACHABLE, "no connection")
        taken.append((document.alert_id, document.sequence))

    documents = [*make_episode(1, 2), *make_episode(2, 2)]
    with Queue(tmp_path / "q.db") as queue:
        queue.put(documents)
        drain = Drain(queue, send, min_s=0.0001, max_s=0.0001)
        for _ in range(100):
            drain.step()
        down[0] = False
        drained(queue, drain)
        assert queue.counts() == (0, len(documents), 0)
    for alert_id in {one.alert_id for one in documents}:
        assert [s for a, s in taken if a == alert_id] == [1, 2, 3, 4]


def test_a_bad_request_that_no_fhir_server_explains_sets_nothing_aside(tmp_path: Path) -> None:
    with FhirDouble() as double, Queue(tmp_path / "q.db") as queue:
        server = FhirServer(double.url, Security())

        def send(document: object, item: object) -> None:  # noqa: ARG001
            assert isinstance(document, Alert)
            server.send(transaction(alert_resources(document)))

        double.said, double.statuses = {"error": "Bad Request"}, [400] * 20
        queue.put([make_alert(n) for n in range(2)])
        drained(queue, Drain(queue, send, min_s=0.0001, max_s=0.0001))
        assert queue.counts() == (0, 2, 0)


def test_who_answered_an_alert_waits_for_it_and_outlives_its_document(tmp_path: Path) -> None:
    found = list[Document]()
    onset, update, _ = make_episode()
    onset = msgspec.structs.replace(onset, strip=make_strip())
    other = make_alert(99)
    with Queue(tmp_path / "q.db") as queue:
        queue.put([onset])
        drain = Drain(queue, lambda document, _: found.append(document))
        drained(queue, drain)
        refused = make_response(onset, "a2", outcome=Outcome.HELD_BY_ANOTHER)
        accepted = make_response(onset)
        assert queue.put([make_response(other), refused, accepted, accepted]) == 1
        again = msgspec.structs.replace(accepted, outcome=Outcome.ALREADY_APPLIED)
        assert queue.put([update, again, make_response(onset, "a3", Action.GIVE_BACK)]) == 2
        drained(queue, drain)
        assert queue.counts() == (0, 4, 0)
    with contextlib.closing(sqlite3.connect(tmp_path / "q.db")) as db:
        kept = db.execute("SELECT body FROM item WHERE body NOT NULL").fetchall()
    assert [json.loads(body)["strip"] for (body,) in kept] == [None]
    answers = [one for one in found if isinstance(one, Answer)]
    assert [one.response.action for one in answers] == [Action.ACCEPT, Action.GIVE_BACK]
    assert answers[0].alert == msgspec.structs.replace(onset, strip=None)
    assert found.index(answers[0]) == 1
    with Queue(tmp_path / "r.db") as queue:  # both while the bridge was away
        assert queue.put([other, make_response(other)]) == 2


def test_a_document_that_cannot_be_converted_is_set_aside(tmp_path: Path) -> None:
    def send(document: object, item: object) -> None:  # noqa: ARG001
        raise KeyError("a defect")

    with Queue(tmp_path / "q.db") as queue:
        queue.put([make_alert()])
        drained(queue, Drain(queue, send))
        assert queue.counts().refused == 1
        assert queue.put([make_alert()]) == 0


def test_a_queue_survives_and_knows_what_is_late(tmp_path: Path) -> None:
    onset, update, end = make_episode()
    with Queue(tmp_path / "q.db") as queue:
        assert queue.put([make_trend(), end, onset]) == 3
    with Queue(tmp_path / "q.db") as queue:
        assert queue.put([update, end]) == 1
        found = []
        while (item := queue.next()) is not None:
            found.append((item.document is Alert, item.latest))
            queue.sent(item)
        assert found == [(True, True), (True, False), (True, False), (False, True)]
    assert (tmp_path / "q.db").stat().st_mode & 0o777 == 0o600


def test_a_queue_that_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "q.db").write_bytes(b"no database" * 100)
    with pytest.raises(ExportError, match="move a damaged one aside") as found:
        Queue(tmp_path / "q.db")
    assert found.value.reason is ExportFault.QUEUE


def test_an_alert_whose_origin_is_not_proven_is_not_exported(tmp_path: Path) -> None:
    class Once:
        """A receiver that has two alerts, one of them forged, and is stopped after them."""

        def __init__(self) -> None:
            self.polls = 0

        def is_set(self) -> bool:
            return self.polls > 0

        def poll(self, _: float) -> list[AlertSeen]:
            self.polls += 1
            forged = Verdict(None, "no signature")
            return [
                AlertSeen(make_alert(1), Audience.TEAM, "t", origin=forged),
                AlertSeen(make_alert(2), Audience.TEAM, "t"),
            ]

    once = Once()
    with Queue(tmp_path / "q.db") as queue:
        drain = Drain(queue, lambda *_: None)
        drain.start()
        follow_broker([once], queue, drain, once)  # type: ignore[list-item]
        until(lambda: queue.counts() == (0, 1, 0), what="the other one is sent")
        drain.stop(PATIENCE_S)

"""Hostile payloads at a device and at a receiver: nothing is raised, and nothing changes.

`python tests/support/hostile_payloads.py --cases 1000000` gives them, seeded, to a device that asks
for signatures (answers, leases, contexts, receipts) and to a receiver that verifies them (alerts,
status, active, responses, trends, leases), and prints how many there were, how many raised an
error and how often a state changed. A device and a receiver without keys get them too: there the
broker's access list decides who may change something, and only errors count.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from support.factories import make_alert, make_trend
from support.keys import make_key, trust
from support.wards import active_alert, active_document
from tocsin_agent.delivery.answering import Answering, Vitals
from tocsin_agent.delivery.desk import AnswerDesk
from tocsin_agent.delivery.escalation import Escalation
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.session import DeliveryMemory, DeliverySession
from tocsin_agent.delivery.settings import EscalationSettings, PresenceSettings
from tocsin_agent.messages.acknowledgement import Acknowledgement, Action, encode_acknowledgement
from tocsin_agent.messages.active import encode_active
from tocsin_agent.messages.alert import encode_alert
from tocsin_agent.messages.context import ContextMessage, PatientContext, encode_context
from tocsin_agent.messages.lease import encode_lease, make_lease
from tocsin_agent.messages.response import Outcome, Response, encode_response
from tocsin_agent.messages.topics import Topics, presence_topic
from tocsin_agent.messages.trend import encode_trend
from tocsin_agent.monitor.settings import PatientSettings
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.events import Ack, Events, Message
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.runtime.context import ContextDesk
from tocsin_agent.signing.envelope import PROPERTY, Signer
from tocsin_agent.signing.guard import Guard
from tocsin_agent.signing.keyring import KeyFile
from tocsin_agent.signing.keys import load_private_key
from tocsin_agent.signing.settings import SigningSettings
from tocsin_agent.team.board.table import as_text
from tocsin_agent.team.board.ward import Ward
from tocsin_agent.team.feed import AlertSeen, Feed, Item, Malformed, to_json
from tocsin_agent.team.origin import Origins
from tocsin_agent.team.terminal import Style, render

BED = Topics("ward3", "bed7")
ALERT = make_alert()
LEASE = presence_topic("ward3", "cardiologist")
NOW = datetime.now(UTC)
_AT_ONCE = 20
_PIECES = (
    *(b"", b"\x00", b"\xff\xfe", b"{", b"}", b"[" * 2000, b'{"a":' * 500, b"9" * 400, b"1e999"),
    *(b"NaN", b"null", b"true", b'"\\ud800"', b'"\\u0000"', b"\x1b[2J", "\u202e".encode(), b"-0"),
    *(b'"9999-12-31T23:59:59.999999Z"', b'"0001-01-01T00:00:00Z"', b"18446744073709551616"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63, 1e308, "", "x" * 5000, "\x1b[2J\n", "\u202e", [], {}, [[]] * 50),
    *("1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "a" * 32, "present", "accept", "offline"),
)


class Target(NamedTuple):
    """A topic, and a genuine payload for it."""

    topic: str
    payload: bytes


def genuine() -> list[Target]:
    """Return one message of each kind, as it should be."""
    ack = Acknowledgement(id="1", alert_id=ALERT.alert_id, who="dr-k", action=Action.ACCEPT, at=NOW)
    context = ContextMessage(
        id="1", who="dr-k", role="cardiologist", at=NOW, context=PatientContext(paced=True)
    )
    response = Response(
        id="1", alert_id=ALERT.alert_id, outcome=Outcome.APPLIED, text="Applied.", at=NOW
    )
    receipt = {
        "schema": "tocsin/receipt/v1", "receiver": "team-1", "at": NOW.isoformat(),
        "received": [{"alert_id": ALERT.alert_id, "sequence": 1, "audience": "team"}],
    }  # fmt: skip
    return [
        Target(BED.ack(ALERT.alert_id), encode_acknowledgement(ack)),
        Target(LEASE, encode_lease(make_lease("cardiologist", "dr-k", 60, NOW))),
        Target(BED.context, encode_context(context)),
        Target(BED.receipt("team-1"), json.dumps(receipt).encode()),
        Target(f"{BED.base}/alert/high", encode_alert(ALERT)),
        Target(f"{BED.base}/technical/high", encode_alert(ALERT)),
        Target(f"{BED.base}/bedside/high", encode_alert(ALERT)),
        Target(f"{BED.base}/escalation/second-team/high", encode_alert(ALERT)),
        Target(BED.status, b'{"state":"online","site":"ward3","device":"bed7"}'),
        Target(BED.active, encode_active(active_document("bed7", active_alert()))),
        Target(BED.response(ALERT.alert_id), encode_response(response)),
        Target(BED.trend, encode_trend(make_trend())),
    ]


def hostile(seed: int, cases: int) -> Iterator[Message]:
    """Yield messages: genuine ones changed in values or bytes, on their topic or another."""
    draws = random.Random(seed)
    targets = genuine()
    decoded = [json.loads(target.payload) for target in targets]
    for _ in range(cases):
        at = draws.randrange(len(targets))
        topic, payload = targets[at]
        if draws.random() < 0.5:
            payload = _values_changed(draws, decoded[at])
        for _ in range(draws.randint(0, 2)):
            cut = draws.randrange(len(payload) + 1)
            piece = draws.choice(_PIECES)
            payload = payload[:cut] + piece + payload[cut + draws.choice((0, 1, len(piece))) :]
        if draws.random() < 0.1:
            topic = draws.choice(targets).topic
        elif draws.random() < 0.05:
            topic = topic.rpartition("/")[0] + "/" + draws.choice(("x", "a" * 32, "é" * 60, " "))
        yield Message(topic, payload, draws.random() < 0.3, 0, _properties(draws))


def _values_changed(draws: random.Random, document: dict[str, Any]) -> bytes:
    changed = dict(document)
    for _ in range(draws.randint(1, 3)):
        name = draws.choice([*changed, "unknown"])
        if draws.random() < 0.2:
            changed.pop(name, None)
        else:
            changed[name] = draws.choice(_VALUES)
        if not changed:
            break
    return json.dumps(changed).encode()


def _properties(draws: random.Random) -> dict[str, str]:
    user = dict[str, str]()
    if draws.random() < 0.3:
        user[PROPERTY] = draws.choice(
            ("", "v1", "v1 x 1 AAAA", f"v1 {'a' * 16} {'9' * 18} {'A' * 86}==", "\x00" * 300)
        )
    if draws.random() < 0.2:
        user["tocsin-additions"] = draws.choice(
            ('{"escalation":{"repeat":9}}', "[1]", "{" * 500, '{"strip":1}', '{"text":null}')
        )
    return user


class _Silent:
    """A connection to nobody: it accepts what is published and reports what it is given."""

    where = "nobody:1"
    alive = True
    receive_maximum = 65_535
    max_packet_bytes = 268_435_455

    def __init__(self) -> None:
        self.settings = MqttSettings()
        self.next = Events()
        self.published = 0

    def unsubscribe(self, _filters: list[str]) -> None:
        raise AssertionError("no kind brings more than the device reads")

    def subscribe(self, _filters: list[str]) -> int:
        return 1_000_000_000

    def publish(self, topic: str, payload: bytes, **_: object) -> int:
        assert topic.encode()
        assert isinstance(payload, bytes)
        self.published += 1
        return self.published

    def acknowledge(self, _message: Message) -> None:
        pass

    def step(self, _timeout_s: float) -> Events:
        events, self.next = self.next, Events()
        return events


class Device:
    """A device with one open alert and a signed lease, at which everything arrives.

    Parameters
    ----------
    folder : Path
        For its outbox.
    guard : Guard, optional
        Judges the signatures of people.
    """

    def __init__(self, folder: Path, guard: Guard | None) -> None:
        self.outbox = Outbox(folder / f"{'signed' if guard else 'open'}.db")
        self.outbox.append([ALERT])
        self._connection = _Silent()
        self._contexts = ContextDesk(PatientSettings())
        self._ledger = PresenceLedger(PresenceSettings(settle_s=0.0))
        self._desk = AnswerDesk(self.outbox.answers, Escalation(EscalationSettings()))
        connection = cast("Connection", self._connection)
        answering = Answering(
            connection,
            self._desk,
            BED,
            vitals=Vitals,
            active_s=3600.0,
            monotonic=lambda: 0.0,
        )
        memory = DeliveryMemory(self._contexts.feed, guard)
        self._session = DeliverySession(
            connection, self.outbox, self._ledger, BED,
            memory=memory, answering=answering, utc=lambda: NOW, monotonic=lambda: 0.0,
        )  # fmt: skip
        self._session.begin(b"{}", b"{}")
        self._connection.next = Events([], [Ack(1, ""), Ack(2, "")], [1_000_000_000])
        self._session.turn()
        self._session.turn()

    def take(self, messages: list[Message]) -> None:
        """Receive messages, as the broker passes them on."""
        # The clock stands, so that nothing is repeated; each turn is a second of its own to the
        # limit of inbound messages, which is tested where it is.
        self._session._inbox._since_s = -10.0
        self._connection.next = Events(messages)
        self._session.turn()

    def state(self) -> bytes:
        """Return what people can change: who is present, what is open, the context."""
        view, context = self._ledger.view(NOW), self._contexts.current()
        return msgspec.json.encode((view, self._desk.active(), context, self.outbox.pending()))


class Screen:
    """A receiver: the feed, a board and a terminal.

    Parameters
    ----------
    keys : KeyFile, optional
        Trusted keys.
    """

    def __init__(self, keys: KeyFile | None) -> None:
        self._feed, self._ward, self._origins = Feed(), Ward(), Origins(keys)
        self._style = Style(width=80)
        self.items: Counter[str] = Counter()

    def take(self, messages: list[Message]) -> None:
        """Receive messages and show them."""
        for message in messages:
            self._take(message)

    def _take(self, message: Message) -> None:
        item = self._feed.take(
            message.topic,
            message.payload,
            retained=message.retain,
            additions=message.user.get("tocsin-additions", ""),
            origin=self._origins.of(message),
        )
        self.items[type(item).__name__] += 1
        if item is None:
            return
        self._ward.take(item, NOW)
        for text in (render(item, self._style), to_json(item, NOW)):
            text.encode()
        if not marked(item):
            self.items["believed"] += 1

    def state(self) -> bytes:
        """Return what the board shows of beds and alerts."""
        return as_text(self._ward, NOW, self._style).partition("\n\n")[0].encode()


def marked(item: Item) -> bool:
    """Return whether an item says that its origin is not proven, or that it is no message."""
    if isinstance(item, AlertSeen):
        return item.origin is not None and not item.origin.genuine
    return isinstance(item, Malformed)


def batched(messages: Iterator[Message]) -> Iterator[list[Message]]:
    """Yield a few messages at a time, as they arrive at once on a busy connection."""
    while some := list(islice(messages, _AT_ONCE)):
        yield some


def _signer(key: Path) -> Signer:
    """Return a signer whose clock is that of the campaign, however long ago it was imported."""
    return Signer(load_private_key(key), utc=lambda: NOW)


def campaign(seed: int, cases: int, folder: Path) -> Counter[str]:
    """Give hostile messages to devices and receivers; return the counts.

    `errors` and `changed` must be 0.
    """
    private = make_key(folder, "bed7")
    trust(folder / "keys.toml", "ward3/bed7", private)
    trust(folder / "people.toml", "dr-k", make_key(folder, "dr-k"))
    guard = Guard.from_settings(SigningSettings(people_file=str(folder / "people.toml")))
    signed, plain = Device(folder, guard), Device(folder, None)
    verified, trusting = Screen(KeyFile(folder / "keys.toml")), Screen(None)
    lease = encode_lease(make_lease("cardiologist", "dr-k", 60, NOW))
    user = {PROPERTY: _signer(folder / "dr-k.pem").sign(LEASE, lease)}
    signed.take([Message(LEASE, lease, user=user)])
    online = b'{"state":"online"}'
    user = {PROPERTY: _signer(private).sign(BED.status, online)}
    verified.take([Message(BED.status, online, user=user)])
    counts: Counter[str] = Counter()
    before = (signed.state(), verified.items["believed"])
    assert b'"dr-k"' in before[0]
    open_state = plain.state()
    takers: tuple[Callable[[list[Message]], None], ...] = (
        *(signed.take, plain.take, verified.take, trusting.take),
    )
    for messages in batched(hostile(seed, cases)):
        counts["messages"] += len(messages)
        for take in takers:
            try:
                take(messages)
            except Exception:  # noqa: BLE001 - what is looked for
                counts["errors"] += 1
                if counts["errors"] <= 5:
                    print(f"up to message {counts['messages']}: {messages!r:.2000}")  # noqa: T201
                    traceback.print_exc(file=sys.stdout)
        counts["changes at a device without keys"] += plain.state() != open_state
        open_state = plain.state()
        after = (signed.state(), verified.items["believed"])
        if after != before:
            counts["changed"] += 1
            print(f"up to message {counts['messages']} a state changed: {messages!r:.2000}")  # noqa: T201
            before = after
    for device in (signed, plain):
        device.outbox.close()
    counts["believed by a receiver without keys"] = trusting.items["believed"]
    counts["errors"] += 0
    counts["changed"] += 0
    return counts


def main() -> None:
    """Run the campaign and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable()
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = campaign(options.seed, options.cases, Path(folder))
    for name, count in counts.items():
        print(f"{name}: {count}")  # noqa: T201
    print(f"seed {options.seed}, {time.monotonic() - began_s:.0f} s")  # noqa: T201
    sys.exit(1 if counts["errors"] or counts["changed"] else 0)


if __name__ == "__main__":
    main()

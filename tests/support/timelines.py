"""A device, its broker and its people on clocks that stand still between two steps of a script."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec

from support.factories import NOON
from support.readers import STRICT
from tocsin_agent.delivery.answering import Answering, Vitals
from tocsin_agent.delivery.desk import AnswerDesk
from tocsin_agent.delivery.escalation import Escalation
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.receipts import AwaitedReceipts
from tocsin_agent.delivery.session import DeliveryMemory, DeliverySession
from tocsin_agent.delivery.settings import (
    EscalationSettings,
    PresenceSettings,
    ReceiptSettings,
)
from tocsin_agent.messages.acknowledgement import (
    Acknowledgement,
    Action,
    encode_acknowledgement,
)
from tocsin_agent.messages.active import Active, MonitorState, decode_active
from tocsin_agent.messages.additions import PROPERTY, decode_with_additions
from tocsin_agent.messages.alert import Alert, Audience, Phase
from tocsin_agent.messages.lease import LeaseState, encode_lease, make_lease
from tocsin_agent.messages.receipt import Receipt, Received, encode_receipt
from tocsin_agent.messages.topics import Branch, Topics, parse, presence_topic
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.events import Ack, Events, Message
from tocsin_agent.mqtt.settings import MqttSettings

TOPICS = Topics("ward3", "bed7")
STEP_S = 0.5
SUBSCRIPTION = 1_000_000


class FakeBroker:
    """Acknowledges everything at the next step; keeps what is retained; knows who subscribes."""

    where = "fake:1"
    receive_maximum = 65_535
    max_packet_bytes = 268_435_455

    def __init__(self, record: Callable[[str, bytes, str], None]) -> None:
        self.settings = MqttSettings(inflight=100)  # nothing waits for a turn of its own
        self.alive = True
        self.unsubscribed: set[Branch] = set()
        self._record = record
        self._mid = 0
        self._acks: list[Ack] = []
        self._arriving: deque[Message] = deque()
        self._retained: dict[str, Message] = {}
        self._subscribed: list[int] = []

    def subscribe(self, _filters: list[str]) -> int:
        self._arriving.extend(self._retained.values())
        self._subscribed.append(SUBSCRIPTION)
        return SUBSCRIPTION

    def publish(
        self, topic: str, payload: bytes, *, user: Mapping[str, str] | None = None, **_: object
    ) -> int:
        self._mid += 1
        if not payload:
            self._retained.pop(topic, None)
            return self._mid
        address = parse(topic)
        assert address is not None
        self._acks.append(Ack(self._mid, "", address.branch in self.unsubscribed))
        self._record(topic, payload, (user or {}).get(PROPERTY, ""))
        return self._mid

    def say(self, topic: str, payload: bytes) -> None:
        """Publish as a person, retained."""
        self._retained[topic] = Message(topic, payload, retain=True)
        if self.alive:
            self._arriving.append(self._retained[topic])

    def acknowledge(self, _message: Message) -> None:
        pass

    def step(self, _timeout_s: float) -> Events:
        events = Events(list(self._arriving), self._acks, self._subscribed)
        self._arriving.clear()
        self._acks, self._subscribed = [], []
        return events

    def cut(self) -> None:
        """Lose the connection and what is under way."""
        self.alive = False
        self._arriving.clear()
        self._acks, self._subscribed = [], []


class World:
    """Runs a script against a device; `log` is every message that left it, in order.

    Parameters
    ----------
    folder : Path
        For the outbox.
    settings : EscalationSettings, optional
        The chain.
    receipts : ReceiptSettings, optional
        Whether receivers confirm alerts.
    """

    def __init__(
        self,
        folder: Path,
        settings: EscalationSettings | None = None,
        receipts: ReceiptSettings | None = None,
    ) -> None:
        self.now_s = 0.0
        self.clock_ahead_s = 0.0  # somebody has set the device's clock
        self.log: list[str] = []
        self.of: defaultdict[str, list[str]] = defaultdict(list)  # the same, by `alert_id`
        self.active: list[Active] = []
        self.documents: list[dict[str, Any]] = []
        self.broker = FakeBroker(self._record)
        self._folder, self._settings, self._receipts = folder, settings, receipts
        self._answers = 0
        self._session: DeliverySession | None = None
        self.start()

    def utc(self) -> datetime:
        return NOON + timedelta(seconds=self.now_s + self.clock_ahead_s)

    # -- the device -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the agent: everything but the outbox's file is new."""
        self.outbox = Outbox(self._folder / "o.db", utc=self.utc)
        self.desk = AnswerDesk(self.outbox.answers, Escalation(self._settings))
        self._memory = DeliveryMemory(receipts=AwaitedReceipts(self._receipts))
        self._ledger = PresenceLedger(PresenceSettings(settle_s=0.0))
        self.connect()

    def kill(self) -> None:
        """End the agent as SIGKILL does."""
        self.disconnect()
        self.outbox.close()

    def restart(self) -> None:
        self.kill()
        self.start()

    def connect(self) -> None:
        self.broker.alive = True
        connection = cast("Connection", self.broker)
        self._session = DeliverySession(
            connection,
            self.outbox,
            self._ledger,
            TOPICS,
            memory=self._memory,
            answering=Answering(
                connection,
                self.desk,
                TOPICS,
                vitals=lambda: Vitals(MonitorState.MONITORING, 72.0),
                active_s=10.0,
                monotonic=lambda: self.now_s,
            ),
            utc=self.utc,
            monotonic=lambda: self.now_s,
        )
        self._session.begin(b"{}", b"{}")

    def disconnect(self) -> None:
        if self._session is not None:
            self._session.end()
            self._session = None
            self._ledger.disconnected()
            self.broker.cut()

    def alarm(self, alert: Alert) -> None:
        """Commit an alert."""
        self.outbox.append([alert])

    def end(self, alert: Alert, sequence: int = 2, reason: str = "no longer seen") -> None:
        """Commit the end of an alert."""
        measured = alert.evidence.measured | {"ended": reason}
        evidence = msgspec.structs.replace(alert.evidence, measured=measured)
        self.alarm(
            msgspec.structs.replace(alert, sequence=sequence, phase=Phase.END, evidence=evidence)
        )

    # -- the people -----------------------------------------------------------------------------

    def say(self, alert: Alert, action: Action, who: str, **more: object) -> None:
        """Answer an alert."""
        self._answers += 1
        values = {"id": str(self._answers), "alert_id": alert.alert_id, "who": who}
        made = msgspec.convert(
            values | {"action": action, "at": self.utc()} | more, Acknowledgement
        )
        self.broker.say(TOPICS.ack(alert.alert_id), encode_acknowledgement(made))

    def lease(self, seconds: float, who: str = "dr-k") -> None:
        """Take the lease, or release it with 0."""
        state = LeaseState.PRESENT if seconds else LeaseState.RELEASED
        lease = make_lease("cardiologist", who, seconds, self.utc(), state)
        self.broker.say(presence_topic("ward3", "cardiologist"), encode_lease(lease))

    def show(self, alert: Alert, audience: Audience) -> None:
        """Confirm that a receiver of the team has an alert."""
        named = (Received(*alert.key, audience),)
        receipt = Receipt(receiver="team-1", at=self.utc(), received=named)
        self.broker.say(TOPICS.receipt("team-1"), encode_receipt(receipt))

    # -- time -----------------------------------------------------------------------------------

    def until(self, seconds: float) -> None:
        """Let time pass."""
        while self.now_s < seconds:
            self.turn()
            self.now_s += STEP_S

    def turn(self) -> None:
        if self._session is not None:
            self._session.turn()
            return
        self.desk.take_in(self.utc(), attended=False, steady_s=self.now_s)
        self.desk.pass_time(self.utc())
        self.desk.save()

    def taken(self) -> list[str]:
        """Return the messages since the last call."""
        log, self.log = self.log, []
        return log

    def _record(self, topic: str, payload: bytes, added: str) -> None:
        address = parse(topic)
        assert address is not None
        if address.branch is Branch.ACTIVE:
            self.active.append(decode_active(payload))
            return
        if address.branch in {Branch.STATUS, Branch.INFO}:
            return
        document = msgspec.json.decode(payload)
        if address.branch is not Branch.RESPONSE:
            STRICT.validate(document)
            document = msgspec.to_builtins(decode_with_additions(payload, added))
        self.documents.append(document)
        where = address.level or str(address.branch)
        if address.branch is Branch.RESPONSE:
            what = f"{document['outcome']} -> {document['state']} {document['holder']}"
        else:
            repeat = document["escalation"].get("repeat", 0)
            what = document["phase"] + (f" repeat {repeat}" if repeat else "")
        self.log.append(f"{self.now_s:g} {where} {what}")
        self.of[document["alert_id"]].append(self.log[-1])

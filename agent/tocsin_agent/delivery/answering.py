"""Answers in, escalation out: what the answer desk does over one connection."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from tocsin_agent.delivery import audit
from tocsin_agent.delivery.desk import AnswerDesk, Dispatch
from tocsin_agent.delivery.packet import make_packet
from tocsin_agent.messages.active import Active, MonitorState, encode_active
from tocsin_agent.messages.alert import PresenceView, SignalQuality
from tocsin_agent.messages.response import encode_response
from tocsin_agent.messages.topics import Branch, Topics
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.events import Ack, Message

log = logging.getLogger(__name__)

_REFUSED_RETRY_S = 30.0
_STEP = timedelta(milliseconds=50)  # leases and time are applied so often while alerts flow


class Vitals(NamedTuple):
    """What the agent adds to the open alerts; None where it is not known."""

    monitor: MonitorState = MonitorState.STARTING
    heart_rate_bpm: float | None = None
    signal_quality: SignalQuality | None = None
    context: dict[str, object] | None = None
    location: str | None = None
    patient: str | None = None
    waveforms: tuple[str, ...] = ()


class Answering:
    """Takes answers and sends responses, dispatches and `active` over one connection.

    Reason for its size: it remembers what was sent, what was refused and what was shown.

    Parameters
    ----------
    connection : Connection
        Open.
    desk : AnswerDesk
        The states of the alerts.
    topics : Topics
        The device's.
    vitals : callable
        Returns what the agent adds to `active`.
    active_s : float
        Longest time between two messages on `active`.
    faults : callable, optional
        Returns what does not work, shown on `active`.
    monotonic : callable
        Returns seconds on a clock that is never set.
    """

    def __init__(
        self,
        connection: Connection,
        desk: AnswerDesk,
        topics: Topics,
        *,
        vitals: Callable[[], Vitals],
        active_s: float,
        faults: Callable[[], tuple[str, ...]] = tuple,
        monotonic: Callable[[], float],
    ) -> None:
        self.desk = desk
        self._connection, self._topics = connection, topics
        self._vitals, self._active_s, self._monotonic = vitals, active_s, monotonic
        self._sent: dict[int, tuple[Dispatch, float]] = {}
        self._refused: dict[tuple[str, str], float] = {}
        self._published_at_s = float("-inf")
        self._shown: object = None
        self._view: PresenceView | None = None
        self._stepped_at = datetime.min.replace(tzinfo=UTC)
        self._faults = faults

    @property
    def filter(self) -> str:
        """The topic filter of the answers to this device."""
        return f"{self._topics.base}/{Branch.ACK}/+"

    @property
    def unacknowledged(self) -> int:
        """How many dispatches the broker has not acknowledged."""
        return len(self._sent)

    @property
    def waiting_since_s(self) -> float | None:
        """When the oldest of them was sent, monotonic; None if there is none."""
        return min((at_s for _, at_s in self._sent.values()), default=None)

    def take(self, alert_id: str, message: Message, now: datetime) -> None:
        """Apply an answer, respond, and remove it from the broker if it is retained there."""
        if not message.payload:
            return
        response = self.desk.answer(alert_id, message.payload, now)
        self.desk.save()  # an answer that is confirmed survives a restart
        self._connection.publish(self._topics.response(alert_id), encode_response(response))
        if message.retain:
            self._connection.publish(self._topics.ack(alert_id), b"", retain=True)

    def step(self, view: PresenceView | None, now: datetime) -> None:
        """Take in new alerts, and apply leases and time.

        Parameters
        ----------
        view : PresenceView or None
            Who is present; None until the connection has settled.
        now : datetime
            Aware UTC.
        """
        attended = view is not None and view.attended
        self.desk.take_in(now, attended=attended, steady_s=self._monotonic())
        if view == self._view and abs(now - self._stepped_at) < _STEP:
            return
        self._view, self._stepped_at = view, now
        if view is not None:
            self.desk.presence(view, now)
        self.desk.pass_time(now)

    def acknowledged(self, ack: Ack, now: datetime) -> Dispatch | None:
        """Record the broker's answer to a dispatch; None if it is to something else."""
        if ack.mid not in self._sent:
            return None
        sent, _ = self._sent.pop(ack.mid)
        if ack.refusal:
            until_s = self._monotonic() + _REFUSED_RETRY_S
            self._refused[sent.alert_id, sent.level] = until_s
        else:
            self.desk.dispatched(sent, now)
        return sent

    def send(
        self,
        room: int,
        now: datetime,
        *,
        below_rank: int = 9,
        at_broker: Collection[str] = (),
        largest: int | None = None,
    ) -> None:
        """Publish what levels lack, of alerts graver than a rank.

        `at_broker` is as in `AnswerDesk.dispatches`, `largest` as in `make_packet`.
        """
        now_s = self._monotonic()
        exclude = {(sent.alert_id, sent.level) for sent, _ in self._sent.values()}
        exclude |= {key for key, until_s in self._refused.items() if until_s > now_s}
        for one in self.desk.dispatches(room - len(self._sent), exclude, at_broker=at_broker):
            if one.priority.rank >= below_rank or not self._connection.alive:
                return
            topic = self._topics.level(one.level, one.kind, one.priority)
            # Decoded as a dict, not as an Alert: one of an older version must be sent too.
            document = msgspec.json.decode(one.document, type=dict[str, object])
            document |= {"published_at": now, "escalation": one.view}
            packet = make_packet(document, self._connection, largest=largest)
            mid = self._connection.publish(topic, packet.payload, user=packet.user)
            self._sent[mid] = (one, now_s)
            self.desk.note(audit.SENT, one.alert_id, one.sequence, one.level, now)
            log.info(
                "alert %s/%d -> %s (repeat %d)", one.alert_id, one.sequence, topic, one.view.repeat
            )

    def publish_active(self, now: datetime, *, stopped: bool = False) -> None:
        """Publish the open alerts if they or the vitals have changed, or if it is time."""
        vitals = self._vitals()
        if stopped:
            vitals = vitals._replace(monitor=MonitorState.STOPPED)
        now_s = self._monotonic()
        faults = self._faults()
        shown = (
            self.desk.revision,
            vitals.monitor,
            vitals.context,
            vitals.waveforms,
            self._view,
            faults,
        )
        if shown == self._shown and now_s - self._published_at_s < self._active_s:
            return
        self._shown, self._published_at_s = shown, now_s
        active = Active(
            site=self._topics.site,
            device=self._topics.device,
            at=now,
            monitor=vitals.monitor,
            location=vitals.location,
            patient=vitals.patient,
            heart_rate_bpm=vitals.heart_rate_bpm,
            signal_quality=vitals.signal_quality,
            context=vitals.context,
            waveforms=vitals.waveforms,
            presence=self._view,
            faults=faults,
            alerts=self.desk.active(),
        )
        self._connection.publish(self._topics.active, encode_active(active), retain=True)

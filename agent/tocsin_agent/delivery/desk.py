"""The answer desk: the states of all alerts of a device, kept over a restart.

It takes in what was committed, applies answers, leases and time by `Escalation`, and knows which
level lacks which document. The publisher's thread owns it; a connection need not be there.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from tocsin_agent.delivery import audit
from tocsin_agent.delivery.answer_store import READ_AT_ONCE, AnswerStore, Kept
from tocsin_agent.delivery.escalation import Change, Escalation, OpenAlert, Reached, Step
from tocsin_agent.errors import DeliveryError
from tocsin_agent.log_fields import with_fields
from tocsin_agent.messages.acknowledgement import decode_acknowledgement
from tocsin_agent.messages.active import ActiveAlert, AlertState
from tocsin_agent.messages.alert import (
    Addressed,
    Audience,
    Key,
    Kind,
    Phase,
    PresenceView,
    Priority,
    decode_alert,
)
from tocsin_agent.messages.alert import Escalation as EscalationView
from tocsin_agent.messages.printable import clean
from tocsin_agent.messages.response import Outcome, Response

log = logging.getLogger(__name__)

MAX_OPEN = 200
MAX_CLOSED = 500
CLOCK_SET_S = 1.0
"""A clock that deviates so far from steady time between two looks was set."""
_RANK = {priority: priority.rank for priority in Priority}
_TEXTS = {
    Outcome.ALREADY_APPLIED: "This answer was applied before.",
    Outcome.UNKNOWN_ALERT: "This device has no alert with this id.",
    Outcome.OTHER_ALERT: "The topic and the document name different alerts.",
    Outcome.ALREADY_CLOSED: "The alert is closed: its condition is over.",
    Outcome.NOT_HELD: "Only who has accepted the alert can give it back.",
    Outcome.OUTDATED: "The alert got graver or began again after this answer: look at it again.",
    Outcome.ROLE_NOT_PERMITTED: "This role may not answer: see escalation.roles.",
}


class Dispatch(NamedTuple):
    """A document for a level that lacks it; `repeat` counts the repeats of the alert."""

    alert_id: str
    sequence: int
    level: str
    repeat: int
    kind: Kind
    priority: Priority
    document: bytes
    view: EscalationView


REFUSALS_A_MINUTE = 10
"""Refused signatures that are noted in the audit trail within a minute; the log has them all."""


class AnswerDesk:
    """The states of a device's alerts.

    Reason for its size: each kind of event that changes a state has a method of its own.

    Parameters
    ----------
    store : AnswerStore
        Keeps the states.
    escalation : Escalation
        The state machine.

    Attributes
    ----------
    revision : int
        Changes whenever a state does, so that `active` is published again.
    """

    def __init__(self, store: AnswerStore, escalation: Escalation) -> None:
        self.revision = 0
        self._store, self._escalation = store, escalation
        self._kept: dict[str, Kept] = {}
        self._live: dict[str, Kept] = {}  # of these, what is open or owed to a level
        self._changed: dict[str, Kept] = {}
        self._forgotten: list[str] = []
        self._entries: list[audit.Entry] = []
        self._position: int | None = None
        self._view: PresenceView | None = None
        self._clock: tuple[datetime, float] | None = None
        self._taken_in_s: float | None = None
        self._ahead: set[Key] = set()  # sent before `take_in` came to them
        self._last_failure = ""
        self._refusals: tuple[datetime | None, int] = (None, 0)  # minute, how many in it
        try:
            self._kept = {kept.alert.alert_id: kept for kept in store.load()}
        except DeliveryError as exc:
            log.error("the states of earlier alerts cannot be read: %s", exc)  # noqa: TRY400
        self._live = {
            alert_id: kept for alert_id, kept in self._kept.items() if _is_live(kept.alert)
        }

    @property
    def busy(self) -> bool:
        """Whether an alert is open, or owed to a level of the chain: time passes for it."""
        return bool(self._live)

    def use(self, escalation: Escalation) -> None:
        """Use another chain and other times from here on; the publisher's thread."""
        self._escalation = escalation

    # -- what happens -------------------------------------------------------------------------

    def take_in(self, now: datetime, *, attended: bool, steady_s: float) -> None:
        """Take in the alerts that were committed since the last call.

        Parameters
        ----------
        now : datetime
            Aware UTC.
        attended : bool
            Whether somebody is present.
        steady_s : float
            Seconds on a clock that is never set: escalation goes by it.
        """
        self._follow_clock(now, steady_s)
        since_s = steady_s - self._taken_in_s if self._taken_in_s is not None else None
        earliest = now - timedelta(seconds=since_s) if since_s is not None else None
        for one in self._store.held():
            self._take(one.document, now, attended=attended)
        arrived = self._store.arrived()
        for one in arrived:
            self._position = one.position
            if one.document:
                at = min(one.committed_at or now, now)
                at = max(at, earliest) if earliest is not None else at
                self._take(one.document, at, attended=attended, arrived=True)
        self._make_room(now)
        if arrived and not self.save():
            return
        if len(arrived) < READ_AT_ONCE:  # else the next call goes on: alerts do not wait for it
            self._taken_in_s = steady_s

    def take_ahead(
        self, key: Key, document: bytes, committed_at: datetime | None, now: datetime
    ) -> None:
        """Take in an alert that is sent before `take_in` has come to it."""
        kept = self._kept.get(key[0])
        if key in self._ahead or (kept is not None and key[1] <= kept.alert.sequence):
            return
        attended = self._view is not None and self._view.attended
        self._take(document, min(committed_at or now, now), attended=attended)
        self._ahead.add(key)

    def _follow_clock(self, now: datetime, steady_s: float) -> None:
        """Move what is due with a clock that was set: time that has not passed does not count."""
        before, self._clock = self._clock, (now, steady_s)
        if before is None:
            return
        by = now - before[0] - timedelta(seconds=steady_s - before[1])
        if abs(by.total_seconds()) < CLOCK_SET_S:
            return
        log.warning("the clock was set by %+.1f s; what is due moves with it", by.total_seconds())
        self._entries.append(
            audit.Entry(now, audit.CLOCK_SET, detail=f"{by.total_seconds():+.1f} s")
        )
        for kept in [kept for kept in self._live.values() if kept.alert.open]:
            self._apply(kept, self._escalation.clock_set(kept.alert, by))

    def pass_time(self, now: datetime) -> None:
        """Let time pass: repeat, address the next level, and close what was listed long enough."""
        for kept in [kept for kept in self._live.values() if kept.alert.open]:
            self._apply(kept, self._escalation.pass_time(kept.alert, now))

    def presence(self, view: PresenceView, now: datetime) -> None:
        """Apply who is present, known by the leases of a settled connection."""
        before, self._view = self._view, view
        gone = before.id if before is not None and before.attended else None
        for kept in list(self._live.values()):
            alert = self._escalation.first_level(kept.alert, now, attended=view.attended)
            self._apply(kept, (alert, []))
            if not view.attended and alert.open:
                self._apply(self._kept[alert.alert_id], self._escalation.left(alert, gone, now))

    def no_subscriber(self, alert_id: str, now: datetime) -> None:
        """Apply that the broker had no subscriber at the bedside for an alert."""
        if (kept := self._kept.get(alert_id)) is not None:
            self._apply(kept, self._escalation.no_subscriber(kept.alert, now))

    def answer(self, alert_id: str, payload: bytes, now: datetime) -> Response:
        """Apply a person's answer, and return what became of it; `alert_id` is from the topic."""
        try:
            answer = decode_acknowledgement(payload)
        except (ValueError, OverflowError, RecursionError) as exc:  # msgspec's are ValueErrors
            log.warning("an answer to %s cannot be read: %s", clean(alert_id, 64), exc)
            return Response(
                id=None, alert_id=alert_id, outcome=Outcome.MALFORMED, text=str(exc), at=now
            )
        kept = self._kept.get(alert_id)
        alert = kept.alert if kept is not None else None
        if answer.alert_id != alert_id:
            outcome = Outcome.OTHER_ALERT
        elif kept is None or alert is None:
            outcome = Outcome.UNKNOWN_ALERT
        else:
            alert, steps, outcome = self._escalation.answer(kept.alert, answer, now)
            self._apply(kept, (alert, steps))
        log.info(
            "%s %s %s: %s",
            clean(answer.who),
            answer.action,
            clean(alert_id, 64),
            outcome,
            extra=with_fields(alert_id=clean(alert_id, 64), who=clean(answer.who), event="answer"),
        )
        return Response(
            id=answer.id,
            alert_id=alert_id,
            action=answer.action,
            who=answer.who,
            outcome=outcome,
            text=_outcome_text(outcome, alert),
            state=alert.state if alert is not None else None,
            holder=alert.holder if alert is not None else None,
            at=now,
        )

    # -- what is sent -------------------------------------------------------------------------

    def dispatches(
        self,
        limit: int,
        exclude: Collection[tuple[str, str]],
        *,
        at_broker: Collection[str] = (),
    ) -> list[Dispatch]:
        """Return what levels lack, the gravest alert first, then the oldest.

        An alert of which the outbox has a document to send comes after that document.

        Parameters
        ----------
        limit : int
            How many at most.
        exclude : collection of tuple
            (`alert_id`, level) of what has been sent and may be acknowledged any moment.
        at_broker : collection of str
            The `alert_id` of what the broker has, though it waits for a receipt.
        """
        owed = [kept for kept in self._live.values() if _owes(kept.alert)]
        if not owed or limit <= 0:
            return []
        unsent = self._store.unsent().difference(at_broker)
        found: list[Dispatch] = []
        for kept in sorted(
            owed, key=lambda kept: (_RANK[kept.alert.priority], kept.alert.began_at)
        ):
            if kept.alert.alert_id not in unsent:
                found += [
                    _dispatch(kept, reached)
                    for reached in kept.alert.reached
                    if _lacks(kept.alert, reached)
                    and (kept.alert.alert_id, reached.level) not in exclude
                ]
        return [one for one in found if one.document][:limit]

    def dispatched(self, sent: Dispatch, now: datetime) -> None:
        """Record that the broker has acknowledged a dispatch."""
        self._reached(sent.alert_id, sent.level, sent.sequence, sent.repeat, now)
        self.note(audit.DELIVERED, sent.alert_id, sent.sequence, sent.level, now)

    def delivered(self, key: tuple[str, int], audience: Audience, now: datetime) -> None:
        """Record that the broker has acknowledged a document of the outbox."""
        kept = self._kept.get(key[0])
        if kept is not None:
            self._reached(key[0], audience, key[1], kept.alert.repeat, now)
        self.note(audit.DELIVERED, *key, audience, now)

    def note(self, event: str, alert_id: str, sequence: int, level: str, at: datetime) -> None:
        """Add an entry to the audit trail with the next `save`."""
        self._entries.append(audit.Entry(at, event, alert_id, sequence, level=level))

    def refused(self, alert_id: str, why: str, at: datetime) -> None:
        """Add a message without an acceptable signature to the audit trail.

        At most `REFUSALS_A_MINUTE`: whoever sends thousands must not push older entries out.
        """
        minute = at.replace(second=0, microsecond=0)
        if minute != self._refusals[0]:
            self._refusals = (minute, 0)
        count = self._refusals[1] + 1
        self._refusals = (minute, count)
        if count <= REFUSALS_A_MINUTE:
            self._entries.append(audit.Entry(at, audit.SIGNATURE_REFUSED, alert_id, detail=why))

    def view(self, alert_id: str) -> EscalationView | None:
        """Return how far an alert has been escalated; None if it has not been."""
        kept = self._kept.get(alert_id)
        if kept is None or len(kept.alert.reached) < 2:
            return None
        return _view(kept.alert, None, 0)

    def active(self) -> tuple[ActiveAlert, ...]:
        """Return the open alerts, the gravest first, then the newest."""
        alerts = [kept.alert for kept in self._live.values() if kept.alert.open]
        alerts.sort(key=lambda alert: alert.since, reverse=True)
        return tuple(_active(a) for a in sorted(alerts, key=lambda alert: _RANK[alert.priority]))

    def save(self) -> bool:
        """Save what has changed; False if the disk took nothing, which is tried again."""
        if not (self._changed or self._forgotten or self._entries or self._position is not None):
            return True
        try:
            self._store.save(
                list(self._changed.values()),
                forgotten=self._forgotten,
                entries=self._entries,
                position=self._position,
            )
        except DeliveryError as exc:
            if str(exc) != self._last_failure:
                self._last_failure = str(exc)
                log.error("the states of alerts cannot be saved yet: %s", exc)  # noqa: TRY400
            return False
        self._changed, self._forgotten, self._entries, self._position = {}, [], [], None
        self._last_failure = ""
        return True

    # -- the table ----------------------------------------------------------------------------

    def _take(
        self, document: bytes, at: datetime, *, attended: bool, arrived: bool = False
    ) -> None:
        try:
            alert = decode_alert(document)
        except (ValueError, OverflowError, RecursionError) as exc:
            log.warning("an alert of another version is not tracked: %s", exc)
            return
        if arrived and alert.key in self._ahead:
            self._ahead.remove(alert.key)
            return
        kept = self._kept.get(alert.alert_id)
        if kept is None:
            onset = document if alert.phase is Phase.ONSET else b""
            self._put(*self._escalation.begin(alert, at, attended=attended), onset, document)
        elif alert.sequence > kept.alert.sequence:
            self._put(*self._escalation.take(kept.alert, alert, at), kept.onset, document)

    def _apply(self, kept: Kept, change: Change) -> None:
        alert, steps = change
        if steps or alert != kept.alert:
            self._put(alert, steps, kept.onset, kept.latest)

    def _put(self, alert: OpenAlert, steps: Iterable[Step], onset: bytes, latest: bytes) -> None:
        if not _is_live(alert):
            onset = latest = b""  # large, and nobody needs them any more
        kept = Kept(alert, onset, latest)
        self._kept[alert.alert_id] = self._changed[alert.alert_id] = kept
        if _is_live(alert):
            self._live[alert.alert_id] = kept
        else:
            self._live.pop(alert.alert_id, None)
        self.revision += 1
        for step in steps:
            said = " ".join(filter(None, step[0:1] + step[3:]))
            stated = with_fields(
                alert_id=step.alert_id, code=alert.code, priority=alert.priority, event=step.kind
            )
            log.info("alert %s %s", step.alert_id, clean(said), extra=stated)
            self._entries.append(
                audit.Entry(
                    step.at, step.kind, step.alert_id, alert.sequence, *step[3:5], step.detail
                )
            )

    def _reached(
        self, alert_id: str, level: str, sequence: int, repeat: int, now: datetime
    ) -> None:
        kept = self._kept.get(alert_id)
        if kept is None:
            return
        alert, known = kept.alert, {reached.level: reached for reached in kept.alert.reached}
        if level not in known and len(known) == 1 and not alert.sent:
            known = {}  # presence changed between the commit and the sending
        old = known.get(level) or Reached(level=level, at=now, repeat=alert.repeat)
        known[level] = msgspec.structs.replace(
            old,
            sequence=max(old.sequence, sequence),
            repeat=max(old.repeat, repeat),
        )
        reached = tuple(known.values())
        self._apply(kept, (msgspec.structs.replace(alert, reached=reached), []))

    def _make_room(self, now: datetime) -> None:
        """Bound the table: forget the oldest closed alerts; close the oldest of the least grave."""
        if len(self._kept) <= min(MAX_OPEN, MAX_CLOSED):
            return
        alerts = [kept.alert for kept in self._kept.values()]
        closed = [alert for alert in alerts if not alert.open]
        for alert in closed[: max(0, len(closed) - MAX_CLOSED)]:
            del self._kept[alert.alert_id]
            self._live.pop(alert.alert_id, None)
            self._changed.pop(alert.alert_id, None)
            self._forgotten.append(alert.alert_id)
        open_ = [alert for alert in alerts if alert.open]
        excess = len(open_) - MAX_OPEN
        if excess > 0:
            ended = sorted(open_, key=lambda a: (a.ended_at is None, -_RANK[a.priority], a.since))
            # The same text each time: the log folds it, and the audit trail names each alert.
            log.warning("more than %d open alerts: the least grave are closed", MAX_OPEN)
            for alert in ended[:excess]:
                gone = msgspec.structs.replace(alert, state=AlertState.CLOSED)
                self._apply(self._kept[alert.alert_id], (gone, []))
                self._entries.append(
                    audit.Entry(now, "closed", alert.alert_id, detail="too many open alerts")
                )


def _lacks(alert: OpenAlert, reached: Reached) -> bool:
    repeats = alert.unaccepted and reached.repeat < alert.repeat
    return reached.sequence < alert.sequence or repeats


def _owes(alert: OpenAlert) -> bool:
    return any(_lacks(alert, reached) for reached in alert.reached)


def _is_live(alert: OpenAlert) -> bool:
    return alert.open or _owes(alert)


def _dispatch(kept: Kept, reached: Reached) -> Dispatch:
    """Return the next document for a level: first the onset, then the latest."""
    alert = kept.alert
    onset = reached.sequence == 0 and alert.sequence > 1 and bool(kept.onset)
    return Dispatch(
        alert.alert_id,
        1 if onset else alert.sequence,
        reached.level,
        reached.repeat if onset else alert.repeat,
        alert.kind,
        alert.priority,
        kept.onset if onset else kept.latest,
        _view(alert, reached.level, alert.repeat if reached.sequence == alert.sequence else 0),
    )


def _view(alert: OpenAlert, level: str | None, repeat: int) -> EscalationView:
    return EscalationView(
        level=len(alert.reached) - 1,
        repeat=repeat,
        to=level,
        addressed=tuple(Addressed(one.level, one.at) for one in alert.reached),
    )


def _active(alert: OpenAlert) -> ActiveAlert:
    return ActiveAlert(
        alert_id=alert.alert_id,
        sequence=alert.sequence,
        code=alert.code,
        kind=alert.kind,
        priority=alert.priority,
        state=alert.state,
        since=alert.since,
        ended_at=alert.ended_at,
        end_observed=alert.end_observed,
        text=alert.text,
        heart_rate_bpm=alert.heart_rate_bpm,
        holder=alert.holder,
        accepted_at=alert.accepted_at,
        level=alert.reached[-1].level if alert.reached else "",
        addressed={one.level: one.at for one in alert.reached},
        repeats=alert.repeat,
        silenced_until=alert.silenced_until,
    )


def _outcome_text(outcome: Outcome, alert: OpenAlert | None) -> str:
    if outcome is Outcome.APPLIED and alert is not None:
        holder = f"{alert.holder} has it" if alert.holder else "nobody has it"
        return f"Applied: the alert is {alert.state.replace('_', ', ')}, {holder}."
    if outcome is Outcome.HELD_BY_ANOTHER and alert is not None:
        return f"{alert.holder} has accepted this alert."
    return _TEXTS.get(outcome, outcome)

"""The states of an alert, after IEC 62682: one pure state machine.

::

    unacknowledged ──accept──▶ acknowledged ──end──▶ closed
         ▲  │                      │                    ▲
         │  └──end──▶ returned_unacknowledged ──accept──┘
         └── graver, again, given back, not renewed ────┘ (from acknowledged)

Alerts of low priority, and technical ones of medium priority, are closed by their end. So is an
alert whose condition was superseded by a graver one: that one has an alert of its own.

Every function takes an alert and returns it as it is afterwards, with the steps that led there. No
function reads a clock. While nobody accepts an alert of high priority, `pass_time` repeats it and
addresses one level of the chain after the other.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import msgspec

from tocsin_agent.delivery.settings import EscalationSettings
from tocsin_agent.messages.acknowledgement import Acknowledgement, Action
from tocsin_agent.messages.active import AlertState
from tocsin_agent.messages.alert import UNSEEN_ENDS, Alert, Audience, Kind, Phase, Priority
from tocsin_agent.messages.response import Outcome

_RECKONED = (
    *("began_at", "climbed_at", "repeated_at", "renewed_at", "ended_at", "silenced_until"),
    "changed_at",
)
OUTDATED_S = 10.0
"""An acceptance that was made so long before the alert got graver does not apply to it any more."""
MAX_ANSWERS = 16
"""Ids of answers that are remembered for each alert, so that none is applied twice."""


class StepKind(StrEnum):
    """What happened to an alert; the audit trail uses the same names."""

    BEGAN = "began"
    ENDED = "ended"
    ADDRESSED = "addressed"
    REPEATED = "repeated"
    ACCEPTED = "accepted"
    RENEWED = "renewed"
    REJECTED = "rejected"
    GIVEN_BACK = "given_back"
    SILENCED = "silenced"
    REFUSED = "refused"
    NOT_RENEWED = "not_renewed"
    HOLDER_LEFT = "holder_left"
    GRAVER = "graver"
    BEGAN_AGAIN = "began_again"
    NO_SUBSCRIBER = "no_subscriber"
    CLOSED = "closed"


class Step(NamedTuple):
    """One step of an alert; `at` is UTC."""

    kind: StepKind
    alert_id: str
    at: datetime
    who: str | None = None
    level: str | None = None
    detail: str = ""


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """A level that was addressed, and what it has been sent: nothing while `sequence` is 0."""

    level: str
    at: datetime
    sequence: int = 0
    repeat: int = 0


class OpenAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert and who has answered it; the state that is kept over a restart.

    `began_at` is the UTC from which escalation counts, `climbed_at` that of the last level,
    `sequence` that of the latest document, `changed_at` when it last got graver or began again.
    """

    alert_id: str
    code: str
    kind: Kind
    priority: Priority
    since: datetime
    began_at: datetime
    sequence: int
    text: str
    state: AlertState = AlertState.UNACKNOWLEDGED
    heart_rate_bpm: float | None = None
    occurrences: float = 1.0
    ended_at: datetime | None = None
    end_observed: bool = True
    holder: str | None = None
    accepted_at: datetime | None = None
    renewed_at: datetime | None = None
    reached: tuple[Reached, ...] = ()
    climbed_at: datetime
    repeat: int = 0
    repeated_at: datetime
    silenced_until: datetime | None = None
    answers: tuple[str, ...] = ()
    changed_at: datetime | None = None

    @property
    def open(self) -> bool:
        """True while it is listed as active."""
        return self.state is not AlertState.CLOSED

    @property
    def unaccepted(self) -> bool:
        """True while it waits for somebody to accept it."""
        return self.state in {AlertState.UNACKNOWLEDGED, AlertState.RETURNED_UNACKNOWLEDGED}

    @property
    def sent(self) -> bool:
        """True once any level has been sent anything."""
        return any(level.sequence for level in self.reached)


Change: TypeAlias = tuple[OpenAlert, list[Step]]


class Escalation:
    """The state machine, with the limits of a configuration.

    Reason for its size: each transition of the table has a method of its own.

    Parameters
    ----------
    settings : EscalationSettings
        The chain and its times.
    """

    def __init__(self, settings: EscalationSettings | None = None) -> None:
        self.settings = settings or EscalationSettings()
        self._names = [name for name, _ in self.settings.levels]
        self._wait_s = dict(self.settings.levels)

    def begin(self, alert: Alert, at: datetime, *, attended: bool) -> Change:
        """Return the state of a new alert; `at` is when it was committed."""
        level = Audience.BEDSIDE if attended else Audience.TEAM
        new = OpenAlert(
            alert_id=alert.alert_id,
            code=alert.code,
            kind=alert.kind,
            priority=alert.priority,
            since=alert.onset_at,
            began_at=at,
            sequence=alert.sequence,
            text=alert.text,
            heart_rate_bpm=alert.heart_rate_bpm,
            occurrences=_occurrences(alert),
            reached=(Reached(level=level, at=at),),
            climbed_at=at,
            repeated_at=at,
        )
        steps = [_step(StepKind.BEGAN, new, at), _step(StepKind.ADDRESSED, new, at, level=level)]
        if alert.phase is Phase.END:
            ended, more = self._end(new, alert, at)
            return ended, steps + more
        return new, steps

    def take(self, old: OpenAlert, alert: Alert, at: datetime) -> Change:
        """Apply a later document of an alert: an update or its end."""
        if alert.sequence <= old.sequence:
            return old, []
        new = msgspec.structs.replace(
            old,
            sequence=alert.sequence,
            since=alert.onset_at,  # put right after the clock was set for the first time
            text=alert.text,
            heart_rate_bpm=alert.heart_rate_bpm,
            priority=min(old.priority, alert.priority, key=lambda priority: priority.rank),
            occurrences=max(old.occurrences, _occurrences(alert)),
        )
        if new.priority is not old.priority or new.occurrences > old.occurrences:
            new = msgspec.structs.replace(new, changed_at=at)
        if alert.phase is Phase.END:
            return self._end(new, alert, at)
        if old.state is AlertState.RETURNED_UNACKNOWLEDGED:
            new = msgspec.structs.replace(
                new,
                state=AlertState.UNACKNOWLEDGED,
                ended_at=None,
                end_observed=True,
                changed_at=at,
            )
            return new, [_step(StepKind.BEGAN_AGAIN, new, at)]
        if old.state is AlertState.ACKNOWLEDGED and new.priority is not old.priority:
            return self._reopen(new, StepKind.GRAVER, at)
        if old.state is AlertState.ACKNOWLEDGED and new.occurrences > old.occurrences:
            return self._reopen(new, StepKind.BEGAN_AGAIN, at)
        return new, []

    def answer(self, old: OpenAlert, answer: Acknowledgement, at: datetime) -> _Answered:
        """Apply a person's answer, or refuse it; a refused one changes nothing."""
        if answer.id in old.answers:
            return _Answered(old, [], Outcome.ALREADY_APPLIED)
        if (refusal := self._why_refused(old, answer)) is not None:
            return _refused(old, answer, at, refusal)
        known = msgspec.structs.replace(old, answers=(*old.answers, answer.id)[-MAX_ANSWERS:])
        change = {
            Action.ACCEPT: self._accept,
            Action.REJECT: self._reject,
            Action.GIVE_BACK: self._give_back,
            Action.SILENCE: self._silence,
        }[answer.action](known, answer, at)
        return _Answered(*change, Outcome.APPLIED)

    def first_level(self, old: OpenAlert, at: datetime, *, attended: bool) -> OpenAlert:
        """Return an alert of which nothing was sent yet with the level that it will be sent to.

        Whether somebody is present may become known, or change, after the alert began. If the
        chain has gone further by then, the levels stay as they are.
        """
        waited_s = (at - old.began_at).total_seconds()
        late = attended and waited_s >= self._wait_s[Audience.BEDSIDE]
        if old.sent or len(old.reached) != 1 or late:
            return old
        level = Audience.BEDSIDE if attended else Audience.TEAM
        if old.reached[0].level == level:
            return old
        return msgspec.structs.replace(old, reached=(Reached(level=level, at=old.reached[0].at),))

    def left(self, old: OpenAlert, holder: str | None, at: datetime) -> Change:
        """Apply that nobody is present any more: the lease of `holder` has ended.

        What that person had accepted is open again, and what only the bedside has received goes
        to the team at once.
        """
        new, steps = old, list[Step]()
        if old.state is AlertState.ACKNOWLEDGED and holder is not None and old.holder == holder:
            new, steps = self._reopen(old, StepKind.HOLDER_LEFT, at)
        only_bedside = [level.level for level in new.reached] == [Audience.BEDSIDE]
        if new.unaccepted and new.priority is Priority.HIGH and only_bedside and new.sent:
            new, more = self._climb(new, at, at, "nobody is present")
            steps += more
        return new, steps

    def no_subscriber(self, old: OpenAlert, at: datetime) -> Change:
        """Apply that the broker had no subscriber at the bedside: address the team at once."""
        if any(level.level != Audience.BEDSIDE for level in old.reached):
            return old, []
        note = _step(StepKind.NO_SUBSCRIBER, old, at, level=Audience.BEDSIDE)
        new, steps = self._climb(old, at, at, "nobody is subscribed at the bedside")
        return new, [note, *steps]

    def pass_time(self, old: OpenAlert, now: datetime) -> Change:
        """Let time pass: do what is due by `now`, in order; several missed repeats become one."""
        old = _not_after(old, now)
        if old.state is AlertState.ACKNOWLEDGED and _passed(
            old.renewed_at, self.settings.accepted_s, now
        ):
            return self._reopen(old, StepKind.NOT_RENEWED, now)
        listed = not _passed(old.ended_at, self.settings.listed_s, now)
        if old.state is AlertState.RETURNED_UNACKNOWLEDGED and old.priority is not Priority.HIGH:
            return (old, []) if listed else _close(old, now, "listed long enough")
        if not old.unaccepted or old.priority is not Priority.HIGH:
            return old, []
        new, steps = old, list[Step]()
        while (due := self._next_level_at(new)) is not None and due <= now:
            new, more = self._climb(new, due, now, "nobody has accepted it")
            steps += more
        if listed and self._next_repeat_at(new) <= now:
            new, more = _repeat(new, now)
            steps += more
        return new, steps

    def clock_set(self, old: OpenAlert, by: timedelta) -> Change:
        """Apply that the clock was set: what is due moves with it, what was stated stays."""
        moved = {name: at + by for name in _RECKONED if (at := getattr(old, name)) is not None}
        return msgspec.structs.replace(old, **moved), []

    def _why_refused(self, old: OpenAlert, answer: Acknowledgement) -> Outcome | None:
        another = old.holder is not None and old.holder != answer.who
        gives_back = answer.action is Action.GIVE_BACK
        if answer.role not in self.settings.roles:
            refusal = Outcome.ROLE_NOT_PERMITTED
        elif not old.open:
            refusal = Outcome.ALREADY_CLOSED
        elif answer.action is Action.ACCEPT and _before(answer, old.changed_at):
            refusal = Outcome.OUTDATED
        elif gives_back and (another or old.holder is None):
            refusal = Outcome.NOT_HELD
        elif another and answer.action is not Action.SILENCE:
            refusal = Outcome.HELD_BY_ANOTHER
        else:
            return None
        return refusal

    # -- what an answer does ------------------------------------------------------------------

    def _accept(self, old: OpenAlert, answer: Acknowledgement, at: datetime) -> Change:
        if old.state is AlertState.ACKNOWLEDGED:
            new = msgspec.structs.replace(old, renewed_at=at)
            return new, [_step(StepKind.RENEWED, new, at, who=answer.who)]
        # A level that was addressed while there was no connection need not be sent it any more.
        reached = tuple(
            msgspec.structs.replace(level, repeat=old.repeat)
            for number, level in enumerate(old.reached)
            if number == 0 or level.sequence
        )
        new = msgspec.structs.replace(
            old,
            state=AlertState.ACKNOWLEDGED,
            holder=answer.who,
            accepted_at=at,
            renewed_at=at,
            silenced_until=None,
            reached=reached,
        )
        steps = [_step(StepKind.ACCEPTED, new, at, who=answer.who, detail=answer.role)]
        if old.ended_at is None:
            return new, steps
        closed, more = _close(new, at, "accepted after its end")
        return closed, steps + more

    def _reject(self, old: OpenAlert, answer: Acknowledgement, at: datetime) -> Change:
        rejected = _step(StepKind.REJECTED, old, at, who=answer.who, detail=answer.role)
        if old.state is AlertState.ACKNOWLEDGED:
            new, steps = self._reopen(old, StepKind.GIVEN_BACK, at, answer.who)
            return new, [rejected, *steps]
        if old.priority is not Priority.HIGH:
            return old, [rejected]
        new, steps = self._climb(old, at, at, f"rejected by {answer.who}")
        return new, [rejected, *steps]

    def _give_back(self, old: OpenAlert, answer: Acknowledgement, at: datetime) -> Change:
        return self._reopen(old, StepKind.GIVEN_BACK, at, answer.who)

    def _silence(self, old: OpenAlert, answer: Acknowledgement, at: datetime) -> Change:
        seconds = min(answer.silence_s or 0.0, self.settings.max_silence_s)
        new = msgspec.structs.replace(old, silenced_until=at + timedelta(seconds=seconds))
        return new, [_step(StepKind.SILENCED, new, at, who=answer.who, detail=f"{seconds:g} s")]

    # -- transitions --------------------------------------------------------------------------

    def _end(self, old: OpenAlert, alert: Alert, at: datetime) -> Change:
        reason = str(alert.evidence.measured.get("ended", ""))
        new = msgspec.structs.replace(old, ended_at=at, end_observed=reason not in UNSEEN_ENDS)
        ended = _step(StepKind.ENDED, new, at, detail=reason)
        keeps = old.priority is Priority.HIGH or (
            old.priority is Priority.MEDIUM and old.kind is Kind.PHYSIOLOGICAL
        )
        if old.unaccepted and keeps and not reason.startswith("superseded"):
            new = msgspec.structs.replace(new, state=AlertState.RETURNED_UNACKNOWLEDGED)
            return new, [ended]
        closed, steps = _close(new, at, "ended")
        return closed, [ended, *steps]

    def _reopen(
        self, old: OpenAlert, kind: StepKind, at: datetime, who: str | None = None
    ) -> Change:
        """Make an accepted alert open again, and repeat it at once."""
        new = msgspec.structs.replace(
            old,
            state=AlertState.UNACKNOWLEDGED,
            holder=None,
            accepted_at=None,
            renewed_at=None,
            climbed_at=at,
        )
        steps = [_step(kind, new, at, who=who or old.holder)]
        if new.priority is not Priority.HIGH:
            return new, steps
        new, more = _repeat(new, at)
        return new, steps + more

    def _climb(self, old: OpenAlert, due: datetime, at: datetime, why: str) -> Change:
        """Address the next level of the chain, if there is one; its own wait begins at `due`."""
        level = self._next_level(old)
        if level is None:
            return old, []
        reached = (*old.reached, Reached(level=level, at=at, repeat=old.repeat))
        new = msgspec.structs.replace(old, reached=reached, climbed_at=due)
        return new, [_step(StepKind.ADDRESSED, new, at, level=level, detail=why)]

    def _highest(self, alert: OpenAlert) -> int:
        return max(
            (self._names.index(r.level) for r in alert.reached if r.level in self._names),
            default=-1,
        )

    def _next_level(self, alert: OpenAlert) -> str | None:
        number = self._highest(alert) + 1
        return self._names[number] if number < len(self._names) else None

    def _next_level_at(self, alert: OpenAlert) -> datetime | None:
        if self._next_level(alert) is None:
            return None
        wait_s = self._wait_s[self._names[max(self._highest(alert), 0)]]
        return alert.climbed_at + timedelta(seconds=wait_s)

    def _next_repeat_at(self, alert: OpenAlert) -> datetime:
        due = alert.repeated_at + timedelta(seconds=self.settings.repeat_s)
        return due if alert.silenced_until is None else max(due, alert.silenced_until)


class _Answered(NamedTuple):
    alert: OpenAlert
    steps: list[Step]
    outcome: Outcome


def _before(answer: Acknowledgement, changed_at: datetime | None) -> bool:
    return changed_at is not None and (changed_at - answer.at).total_seconds() > OUTDATED_S


def _refused(old: OpenAlert, answer: Acknowledgement, at: datetime, outcome: Outcome) -> _Answered:
    step = _step(StepKind.REFUSED, old, at, who=answer.who, detail=f"{answer.action}: {outcome}")
    return _Answered(old, [step], outcome)


def _repeat(old: OpenAlert, at: datetime) -> Change:
    new = msgspec.structs.replace(old, repeat=old.repeat + 1, repeated_at=at)
    return new, [_step(StepKind.REPEATED, new, at, detail=str(new.repeat))]


def _close(old: OpenAlert, at: datetime, why: str) -> Change:
    new = msgspec.structs.replace(old, state=AlertState.CLOSED)
    return new, [_step(StepKind.CLOSED, new, at, who=old.holder, detail=why)]


def _step(
    kind: StepKind,
    alert: OpenAlert,
    at: datetime,
    *,
    who: str | None = None,
    level: str | None = None,
    detail: str = "",
) -> Step:
    return Step(kind, alert.alert_id, at, who, level, detail)


def _occurrences(alert: Alert) -> float:
    found = alert.evidence.measured.get("occurrences", 1.0)
    return found if isinstance(found, float) else 1.0


def _passed(since: datetime | None, seconds: float, now: datetime) -> bool:
    return since is not None and (now - since).total_seconds() >= seconds


def _not_after(alert: OpenAlert, now: datetime) -> OpenAlert:
    """Return the alert with no reference time in the future: the clock may have been set back."""
    if alert.climbed_at <= now and alert.repeated_at <= now:
        return alert
    return msgspec.structs.replace(
        alert,
        climbed_at=min(alert.climbed_at, now),
        repeated_at=min(alert.repeated_at, now),
        renewed_at=now if alert.renewed_at is not None else None,
    )

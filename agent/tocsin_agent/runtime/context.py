"""The context of the patient in a running agent: configured, replaced by a message, and expiring.

Messages arrive in the publisher's thread and are answered there; the agent's loop takes what
changed between two blocks, so that a context applies from a stated sample on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from tocsin_agent.errors import DeliveryError
from tocsin_agent.messages.context import (
    MAX_AHEAD,
    MAX_DO_NOT_ALARM,
    ContextMessage,
    PatientContext,
    decode_context,
)
from tocsin_agent.messages.printable import clean
from tocsin_agent.messages.response import Outcome, Response
from tocsin_agent.messages.topics import CONTEXT
from tocsin_agent.monitor import Limits, PatientMonitor, Report
from tocsin_agent.monitor.alarms.context import refuse
from tocsin_agent.monitor.settings import PatientSettings
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models

log = logging.getLogger(__name__)

_CONFIGURED = "the configured context applies again"


class ContextStore(Protocol):
    """What the desk needs of a store: the answers of an outbox."""

    def remember(self, name: str, value: bytes) -> None: ...  # noqa: D102
    def recall(self, name: str) -> bytes | None: ...  # noqa: D102
    def record(self, event: str, detail: str, *, who: str | None = None) -> bool: ...  # noqa: D102


class Stated(msgspec.Struct, frozen=True):
    """The last message that was applied, kept over a restart; None: the topic was cleared."""

    at: datetime
    message: ContextMessage | None


class ContextDesk:
    """Answers context messages, and says which context applies now; any thread.

    Parameters
    ----------
    settings : PatientSettings
        The configured context, the patient, and the roles that may send one.
    utc : callable, optional
        Returns aware UTC; for tests.
    store : ContextStore, optional
        Keeps the message over a restart, and records each change in the audit trail.
    """

    def __init__(
        self,
        settings: PatientSettings,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
        store: ContextStore | None = None,
    ) -> None:
        self._settings, self._utc, self._store = settings, utc, store
        self._configured = _plain(settings)
        self._lock = threading.Lock()
        self._stated = self._recall()
        self._recorded: PatientContext | None = None
        self._refused: str | None = None  # the id of the message that was refused last

    def current(self) -> PatientContext:
        """Return what applies now: of the do-not-alarm list what has not expired."""
        context = self._applies(self._utc())
        if context != self._recorded:
            self._record(context, None)
        return context

    def feed(self, payload: bytes) -> Response:
        """Take a message on the context topic, or refuse it; return the answer.

        An empty payload makes the configured context apply again.
        """
        if not payload:
            self._state(Stated(self._utc(), None))
            return self._answer(None, Outcome.APPLIED, _CONFIGURED)
        try:
            message = decode_context(payload)
        except ValueError as exc:
            return self._answer(None, Outcome.MALFORMED, f"the context is malformed: {exc}")
        known = self._stated.message
        if known is not None and known.id == message.id:
            return self._answer(message, Outcome.ALREADY_APPLIED, "the context applies already")
        if (refusal := self._refusal(message)) is not None:
            return self._answer(message, *refusal)
        self._state(Stated(message.at, message))
        text = "the context applies from the next block on" if message.context else _CONFIGURED
        return self._answer(message, Outcome.APPLIED, text)

    def _applies(self, now: datetime) -> PatientContext:
        with self._lock:
            message = self._stated.message
        context = message.context if message is not None else None
        if message is not None and message.until is not None and message.until <= now:
            context = None
        context = context or self._configured
        if all(entry.until > now for entry in context.do_not_alarm):
            return context
        left = tuple(entry for entry in context.do_not_alarm if entry.until > now)
        return msgspec.structs.replace(context, do_not_alarm=left)

    def _state(self, stated: Stated) -> None:
        with self._lock:
            self._stated = stated
        who = stated.message.who if stated.message is not None else None
        self._record(self._applies(self._utc()), who)
        if self._store is not None:
            try:
                self._store.remember(CONTEXT, msgspec.json.encode(stated))
            except DeliveryError as exc:  # it applies on a full disk too
                log.error("the context would not survive a restart: %s", exc)  # noqa: TRY400

    def _recall(self) -> Stated:
        """Return what was stated before the restart, if it can be read and still be right."""
        nothing = Stated(datetime.min.replace(tzinfo=UTC), None)
        try:
            kept = self._store.recall(CONTEXT) if self._store is not None else None
            stated = msgspec.json.decode(kept, type=Stated) if kept else nothing
        except (DeliveryError, ValueError, RecursionError) as exc:  # msgspec's are ValueErrors
            log.error("the context of before the restart cannot be read: %s", exc)  # noqa: TRY400
            return nothing
        patient = stated.message.patient if stated.message is not None else None
        if patient is not None and patient != self._settings.id:
            log.warning("the context of before the restart is of another patient, and dropped")
            return nothing
        return stated

    def _record(self, context: PatientContext, who: str | None) -> None:
        """Record what applies from now on in the audit trail, unless that says so already."""
        self._recorded = context
        if self._store is not None:
            with suppress(DeliveryError):
                self._store.record(CONTEXT, msgspec.json.encode(context).decode(), who=who)

    def _refusal(self, message: ContextMessage) -> tuple[Outcome, str] | None:
        now = self._utc()
        if message.role not in self._settings.roles:
            allowed = ", ".join(self._settings.roles) or "nobody"
            text = f"{message.role} may not state the context: patient.roles permits {allowed}"
            return Outcome.ROLE_NOT_PERMITTED, text
        if message.patient is not None and message.patient != self._settings.id:
            return Outcome.MALFORMED, "the context is of another patient than the device's"
        if message.at < self._stated.at:
            text = f"a later context applies, of {self._stated.at:%Y-%m-%d %H:%M:%S} UTC"
            return Outcome.OUTDATED, text
        if message.until is not None and message.until <= now:
            return Outcome.OUTDATED, "the time until which the context applies is over"
        complaint = _complaint(message, now)
        return (Outcome.MALFORMED, complaint) if complaint else None

    def _answer(self, message: ContextMessage | None, outcome: Outcome, text: str) -> Response:
        who = message.who if message else None
        # A refused message stays at the broker, and comes again with each connection.
        again = outcome.refused and message is not None and message.id == self._refused
        self._refused = message.id if message is not None and outcome.refused else None
        level = logging.DEBUG if again else logging.INFO
        log.log(level, "context of %s: %s: %s", clean(who or "-"), outcome, clean(text))
        return Response(
            id=message.id if message else None,
            alert_id=CONTEXT,
            who=who,
            outcome=outcome,
            text=text,
            at=self._utc(),
        )


class MonitorInContext(PatientMonitor):
    """A monitor whose patient's context may change between two blocks.

    Parameters
    ----------
    spec : StreamSpec
    limits : Limits
    models : Models
    desk : ContextDesk
        Says which context applies.
    """

    def __init__(self, spec: StreamSpec, limits: Limits, models: Models, desk: ContextDesk) -> None:
        self._desk, self._applied = desk, desk.current()
        super().__init__(spec, limits, models, context=self._applied)

    def push(self, block: SampleBlock) -> Report:
        """Apply a context that has changed, then monitor the block."""
        context = self._desk.current()
        if context == self._applied:
            return super().push(block)
        self._applied = context
        log.info("another context applies from sample %d on", block.start_index)
        before, report = self.use_context(context), super().push(block)
        return report._replace(alerts=before.alerts + report.alerts)


def _plain(settings: PatientSettings) -> PatientContext:
    """Return the context alone."""
    names = PatientContext.__struct_fields__
    return PatientContext(**{name: getattr(settings, name) for name in names})


def _complaint(message: ContextMessage, now: datetime) -> str:
    """Return what is wrong with the content of a message; empty if nothing is."""
    if message.at > now + MAX_AHEAD:
        at = message.at.astimezone(UTC)
        return f"stated at {at:%Y-%m-%d %H:%M:%S} UTC, in the future: check the clocks"
    if message.context is None:
        return ""
    if any(entry.until > now + MAX_DO_NOT_ALARM for entry in message.context.do_not_alarm):
        hours = MAX_DO_NOT_ALARM.total_seconds() / 3600
        return f"do_not_alarm: an alarm is switched off for {hours:g} h at most: state it again"
    return refuse(message.context)

"""The context of the patient in a running agent: configured, replaced by a message, and expiring.

Messages arrive in the publisher's thread and are answered there; the agent's loop takes what
changed between two blocks, so that a context applies from a stated sample on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from tocsin_agent.messages.context import (
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


class ContextDesk:
    """Answers context messages, and says which context applies now; any thread.

    Parameters
    ----------
    settings : PatientSettings
        The configured context, the patient, and the roles that may send one.
    utc : callable, optional
        Returns aware UTC; for tests.
    """

    def __init__(
        self,
        settings: PatientSettings,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings, self._utc = settings, utc
        self._configured = _plain(settings)
        self._lock = threading.Lock()
        self._message: ContextMessage | None = None

    def current(self) -> PatientContext:
        """Return what applies now: of the do-not-alarm list what has not expired."""
        with self._lock:
            context = self._message.context if self._message else self._configured
        now = self._utc()
        if all(entry.until > now for entry in context.do_not_alarm):
            return context
        left = tuple(entry for entry in context.do_not_alarm if entry.until > now)
        return msgspec.structs.replace(context, do_not_alarm=left)

    def feed(self, payload: bytes) -> Response:
        """Take a message on the context topic, or refuse it; return the answer.

        An empty payload makes the configured context apply again.
        """
        if not payload:
            with self._lock:
                self._message = None
            return self._answer(None, Outcome.APPLIED, "the configured context applies again")
        try:
            message = decode_context(payload)
        except ValueError as exc:
            return self._answer(None, Outcome.MALFORMED, f"the context is malformed: {exc}")
        if (refusal := self._refusal(message)) is not None:
            return self._answer(message, *refusal)
        with self._lock:
            known = self._message is not None and self._message.id == message.id
            self._message = message
        if known:
            return self._answer(message, Outcome.ALREADY_APPLIED, "the context applies already")
        return self._answer(message, Outcome.APPLIED, "the context applies from the next block on")

    def _refusal(self, message: ContextMessage) -> tuple[Outcome, str] | None:
        if message.role not in self._settings.roles:
            allowed = ", ".join(self._settings.roles) or "nobody"
            text = f"{message.role} may not state the context: patient.roles permits {allowed}"
            return Outcome.ROLE_NOT_PERMITTED, text
        # The place at which a signature is checked once messages are signed.
        patient = self._settings.id
        if message.patient is not None and message.patient != patient:
            return Outcome.MALFORMED, "the context is of another patient than the device's"
        if complaint := refuse(message.context):
            return Outcome.MALFORMED, complaint
        latest = self._utc() + MAX_DO_NOT_ALARM
        if any(entry.until > latest for entry in message.context.do_not_alarm):
            hours = MAX_DO_NOT_ALARM.total_seconds() / 3600
            text = f"do_not_alarm: an alarm is switched off for {hours:g} h at most: state it again"
            return Outcome.MALFORMED, text
        return None

    def _answer(self, message: ContextMessage | None, outcome: Outcome, text: str) -> Response:
        who = message.who if message else None
        log.info("context of %s: %s: %s", clean(who or "-"), outcome, clean(text))
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

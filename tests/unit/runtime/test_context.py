"""Context messages: accepted, refused with a reason, expiring, and applied between blocks."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from support.factories import NOON
from tocsin_agent.delivery.answer_store import MemoryAnswers
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.messages.context import (
    ContextMessage,
    DoNotAlarm,
    PatientContext,
    encode_context,
)
from tocsin_agent.messages.response import Outcome
from tocsin_agent.monitor import Limits, PatientMonitor, Report
from tocsin_agent.monitor.settings import PatientSettings
from tocsin_agent.runtime.context import ContextDesk, MonitorInContext
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models

PACED = PatientContext(paced=True)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def message(context: PatientContext | None = PACED, **changes: object) -> bytes:
    given = ContextMessage(id="1", who="dr-k", role="cardiologist", at=NOON, context=context)
    return encode_context(msgspec.structs.replace(given, **changes))


def desk(**settings: object) -> ContextDesk:
    return ContextDesk(PatientSettings(id="p-1", **settings), Clock())  # type: ignore[arg-type]


def test_a_message_replaces_the_configured_context_and_an_empty_one_restores_it() -> None:
    taken = desk(atrial_fibrillation=True)
    assert taken.current() == PatientContext(atrial_fibrillation=True)
    answer = taken.feed(message())
    assert (answer.outcome, answer.id, answer.who) == (Outcome.APPLIED, "1", "dr-k")
    assert taken.current() == PACED
    assert taken.feed(message()).outcome is Outcome.ALREADY_APPLIED
    assert taken.feed(b"").outcome is Outcome.APPLIED
    assert taken.current() == PatientContext(atrial_fibrillation=True)


def test_a_message_without_a_context_restores_the_configured_one() -> None:
    taken = desk(atrial_fibrillation=True)
    taken.feed(message())
    answer = taken.feed(message(None, id="2", at=NOON + timedelta(seconds=1)))
    assert answer.outcome is Outcome.APPLIED
    assert taken.current() == PatientContext(atrial_fibrillation=True)


def test_a_context_that_was_stated_before_the_one_that_applies_is_refused() -> None:
    taken = desk()
    taken.feed(message(at=NOON - timedelta(minutes=1)))
    older = message(PatientContext(), id="2", at=NOON - timedelta(minutes=2))
    answer = taken.feed(older)
    assert (answer.outcome, answer.id) == (Outcome.OUTDATED, "2")
    assert "a later context applies" in answer.text
    assert taken.current() == PACED
    taken.feed(b"")
    assert taken.feed(older).outcome is Outcome.OUTDATED, "it was stated before it was cleared"
    assert taken.current() == PatientContext()


def test_a_context_applies_until_its_time_and_the_trail_says_so() -> None:
    clock, store = Clock(), MemoryAnswers(set)
    taken = ContextDesk(PatientSettings(), clock, store)
    taken.feed(message(until=NOON + timedelta(hours=8)))
    assert taken.current() == PACED
    clock.now += timedelta(hours=8)
    assert taken.current() == PatientContext()
    assert taken.current() == PatientContext()
    assert [(e.event, e.who, '"paced":true' in e.detail) for e in store.entries] == [
        ("context", "dr-k", True),
        ("context", None, False),
    ]
    answer = taken.feed(message(id="2", until=NOON + timedelta(hours=8)))
    assert answer.outcome is Outcome.OUTDATED


def test_a_context_survives_a_restart_without_a_broker(tmp_path: Path) -> None:
    settings = PatientSettings(id="p-1")
    with Outbox(tmp_path / "o.db") as outbox:
        ContextDesk(settings, Clock(), outbox.answers).feed(message(patient="p-1"))
    with Outbox(tmp_path / "o.db") as outbox:
        again = ContextDesk(settings, Clock(), outbox.answers)
        assert again.current() == PACED
        assert again.feed(message(patient="p-1")).outcome is Outcome.ALREADY_APPLIED
        older = message(PatientContext(), id="0", at=NOON - timedelta(seconds=1))
        assert again.feed(older).outcome is Outcome.OUTDATED
        next_patient = ContextDesk(PatientSettings(id="p-2"), Clock(), outbox.answers)
        assert next_patient.current() == PatientContext(), "it is of another patient"
        again.feed(b"")
    with Outbox(tmp_path / "o.db") as outbox:
        assert ContextDesk(settings, Clock(), outbox.answers).current() == PatientContext()


@pytest.mark.parametrize("kept", [b"?", b"{}", b"[" * 60_000, message()])
def test_a_kept_context_that_cannot_be_read_does_not_stop_the_agent(kept: bytes) -> None:
    store = MemoryAnswers(set)
    store.remember("context", kept)
    assert ContextDesk(PatientSettings(), Clock(), store).current() == PatientContext()


@pytest.mark.parametrize(
    ("payload", "outcome", "word"),
    [
        (b"{", Outcome.MALFORMED, "malformed"),
        (b"[" * 5000, Outcome.MALFORMED, "malformed"),
        (b" " * 9000, Outcome.MALFORMED, "9000 bytes"),
        (message().replace(b"true", b'"yes"'), Outcome.MALFORMED, "paced"),
        (message(role="visitor"), Outcome.ROLE_NOT_PERMITTED, "patient.roles"),
        (message(patient="p-2"), Outcome.MALFORMED, "another patient"),
        (message(at=NOON + timedelta(minutes=6)), Outcome.MALFORMED, "check the clocks"),
        (
            message(
                PatientContext(do_not_alarm=(DoNotAlarm("asystole", NOON + timedelta(hours=1)),))
            ),
            Outcome.MALFORMED,
            "asystole cannot be switched off",
        ),
        (
            message(PatientContext(do_not_alarm=(DoNotAlarm("pause", NOON + timedelta(days=4)),))),
            Outcome.MALFORMED,
            "72 h",
        ),
    ],
)
def test_a_wrong_message_is_refused_and_changes_nothing(
    payload: bytes, outcome: Outcome, word: str
) -> None:
    taken = desk()
    answer = taken.feed(payload)
    assert answer.outcome is outcome
    assert word in answer.text
    assert taken.current() == PatientContext()


def test_an_alarm_that_is_switched_off_comes_back_at_its_time() -> None:
    clock = Clock()
    entry = DoNotAlarm("pause", NOON + timedelta(hours=1))
    taken = ContextDesk(PatientSettings(do_not_alarm=(entry,)), clock)
    assert taken.current().do_not_alarm == (entry,)
    clock.now += timedelta(hours=1)
    assert taken.current().do_not_alarm == ()


def test_the_monitor_takes_a_context_between_two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = StreamSpec("ward/1", 250.0, ("II",))
    taken = desk()
    applied: list[PatientContext] = []
    use_context = PatientMonitor.use_context

    def note(monitor: PatientMonitor, context: PatientContext) -> Report:
        applied.append(context)
        return use_context(monitor, context)

    monkeypatch.setattr(PatientMonitor, "use_context", note)
    monitor = MonitorInContext(spec, Limits(), Models(), taken)
    monitor.push(SampleBlock(spec, 0, np.zeros((250, 1))))
    assert applied == []
    taken.feed(message())
    monitor.push(SampleBlock(spec, 250, np.zeros((250, 1))))
    monitor.push(SampleBlock(spec, 500, np.zeros((250, 1))))
    assert applied == [PACED]


def test_a_refused_message_that_comes_again_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It stays at the broker, and comes with each connection."""
    taken = desk()
    caplog.set_level("INFO")
    answers = [taken.feed(message(role="janitor")) for _ in range(3)]
    assert {answer.outcome for answer in answers} == {Outcome.ROLE_NOT_PERMITTED}
    assert len(caplog.records) == 1
    taken.feed(message(role="janitor", id="2"))
    assert len(caplog.records) == 2

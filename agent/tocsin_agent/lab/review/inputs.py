"""Where the cases come from: recordings that the agent monitors again, or kept documents.

A replay gives the same alert ids as the agent that watched the patient, so that rejections in the
audit trail or in the console's file are found again in the recording.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tocsin_agent.errors import LabError
from tocsin_agent.lab.evaluate.judge import run_agent
from tocsin_agent.lab.patients import SAME_PATIENT
from tocsin_agent.lab.review.cases import Case, Span, alert_cases, silent_cases, spans
from tocsin_agent.messages.alert import Alert, Kind, Phase, decode_alert
from tocsin_agent.monitor import LabelledBeat

_REJECTED = {"rejected", "pressed_reject"}
_FOUND_FALSE = ("false_alarm", "wrong_condition", "artefact")
"""Findings of a review (`messages.review`) that contradict an alert, beside a rejection of it."""


class Monitored(NamedTuple):
    """A record as the agent decided it."""

    record: str
    patient: str
    rate_hz: float
    samples: int
    beats: Sequence[LabelledBeat]
    found: Sequence[Span]

    def cases(self, rejected: Iterable[str]) -> tuple[list[Case], list[Case]]:
        """Return a case for each alert, and the silent stretches."""
        about = (self.record, self.patient, self.rate_hz, self.samples, self.found)
        return list(alert_cases(*about, rejected=set(rejected))), list(silent_cases(*about))

    def beats_of(self, case: Case) -> list[tuple[int, str]]:
        """Return the beats of a case: samples from its beginning, and labels."""
        of_it = (b for b in self.beats if case.start <= b.r_index < case.stop)
        return [(beat.r_index - case.start, beat.label) for beat in of_it]


class Kept(NamedTuple):
    """What a console or an audit trail keeps: documents of onsets, and who contradicted them."""

    alerts: tuple[Alert, ...]
    rejected: frozenset[str]


def patient_of(record: str) -> str:
    """Return whose record it is: the record's name, but for the patients with several."""
    database, _, name = record.rpartition("/")
    return f"{database}/{SAME_PATIENT.get(name, name)}" if database == "mitdb" else record


def monitor_record(record: str, verifier: Path | None = None) -> Monitored:
    """Run the agent over a record; `verifier` is a model of alarms in place of the shipped one."""
    beats, events, rate_hz, samples = run_agent(record, None, str(verifier) if verifier else None)
    return Monitored(record, patient_of(record), rate_hz, samples, beats, spans(events, samples))


def read_trail(file: Path) -> Kept:
    """Read what `tocsin audit --json` printed.

    Raises
    ------
    LabError
        If it is something else.
    """
    alerts, rejected = [], set[str]()
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["event"] in _REJECTED:
                rejected.add(entry["alert_id"])
            if entry["event"] == "committed" and entry.get("document"):
                alerts.append(decode_alert(json.dumps(entry["document"]).encode()))
    except (OSError, ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise LabError(
            f"{file} is no audit trail ({error}): write it by "
            "`tocsin audit --config tocsin.toml --json > FILE`"
        ) from error
    return Kept(_onsets(alerts), frozenset(rejected))


def read_console(file: Path) -> Kept:
    """Read the file that a console keeps, while it runs.

    Raises
    ------
    LabError
        If it is something else.
    """
    if not file.is_file():
        raise LabError(f"{file} does not exist: name the console's file (store.path)")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            bodies = db.execute("SELECT body FROM document ORDER BY onset_at, sequence").fetchall()
            events = db.execute("SELECT event, alert_id, text FROM event").fetchall()
        alerts = [decode_alert(body) for (body,) in bodies]
    except (sqlite3.Error, msgspec.DecodeError) as error:
        raise LabError(f"{file} is no console's file: {error}") from error
    against = {
        alert_id
        for event, alert_id, text in events
        if event in _REJECTED or (event == "pressed_note" and text.startswith(_FOUND_FALSE))
    }
    return Kept(_onsets(alerts), frozenset(against))


def _onsets(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    found: dict[str, Alert] = {}
    for alert in alerts:
        if alert.phase is Phase.ONSET and alert.kind is Kind.PHYSIOLOGICAL:
            found.setdefault(alert.alert_id, alert)
    return tuple(found.values())


def strip_cases(kept: Kept) -> tuple[list[Case], dict[str, Alert]]:
    """Return a case for each alert whose document carries its ECG, and the documents by id."""
    cases, documents = list[Case](), dict[str, Alert]()
    for alert in kept.alerts:
        strip = alert.strip
        rows = len(strip.decode()) if strip is not None else 0
        if strip is None or not rows:
            continue
        documents[alert.alert_id] = alert
        onset = strip.onset_row if strip.onset_row is not None else 0
        event: Any = msgspec.structs.replace(alert, onset_index=onset, detected_index=rows)
        patient = alert.patient or f"{alert.site}/{alert.device}"
        (case,) = alert_cases(
            "", patient, strip.rate_hz, rows, [Span(event, rows)], rejected=kept.rejected
        )
        cases.append(msgspec.structs.replace(case, start=0, stop=rows, end=None))
    return cases, documents

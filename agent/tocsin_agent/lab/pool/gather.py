"""The items of a person: episodes and background from recordings, strips from kept documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from tocsin_agent.errors import LabError
from tocsin_agent.lab.pool.consent import Data, Person
from tocsin_agent.lab.pool.items import MAX_SECONDS, Item
from tocsin_agent.lab.pool.pseudonyms import ORIGIN, SiteKey
from tocsin_agent.lab.review.cases import SILENT_S, Case, Why
from tocsin_agent.lab.review.folder import cut
from tocsin_agent.lab.review.inputs import Monitored
from tocsin_agent.messages.alert import Alert, begins_at
from tocsin_agent.sources.opening import open_source

PER_HOUR = 2.0
"""Samples of background in an hour of a recording."""


class Site(NamedTuple):
    """Where the ECG of a site is.

    Parameters
    ----------
    key : SiteKey
        Chooses the background, so that the choice is the same in every release.
    documents : sequence of Alert
        Onsets with a strip, of all patients.
    monitor : callable
        Runs the agent over a record.
    """

    key: SiteKey
    documents: Sequence[Alert]
    monitor: Callable[[str], Monitored]


def items_of(site: Site, person: Person, data: Sequence[Data]) -> Iterator[Item]:
    """Yield what a person allowed: of their recordings, and of the documents with their pseudonym.

    An alert of a recording that is in the documents, too, is one item: that of the recording.

    Raises
    ------
    SourceError
        If a recording cannot be read.
    """
    of_records = set[str]()
    for record in person.records:
        watched = site.monitor(record)
        of_records |= {event.alert_id for event, _ in watched.found}
        yield from _of_record(site, person, watched, data)
    if "episodes" in data:
        for alert in site.documents:
            if alert.patient == person.patient and alert.alert_id not in of_records:
                yield from _of_document(alert)


def _of_record(
    site: Site, person: Person, watched: Monitored, data: Sequence[Data]
) -> Iterator[Item]:
    record = watched.record
    alerts, silent = watched.cases(())
    chosen = list(alerts) if "episodes" in data else []
    if "background" in data and silent:
        wanted = max(1, round(PER_HOUR * watched.samples / watched.rate_hz / 3600))
        ranked = sorted(
            silent,
            key=lambda c: site.key.number(1 << 64, "pick", person.patient, record, str(c.start)),
        )
        chosen += ranked[:wanted]
    longest = round(MAX_SECONDS * watched.rate_hz)
    named = [
        msgspec.structs.replace(case, case=str(i), stop=min(case.stop, case.start + longest))
        for i, case in enumerate(chosen)
    ]
    if not named:
        return
    began = _began(record)
    events = {event.alert_id: event for event, _ in watched.found}
    for name, (leads, samples) in cut(record, named).items():
        case = named[int(name)]
        event = events.get(case.alert_id)
        offset = timedelta(seconds=case.start / case.rate_hz)
        yield Item(
            source=f"{record}@{case.alert_id or case.start}",
            kind="background" if case.why is Why.SILENT else "episode",
            at=None if began is None else began + offset,
            offset_s=offset.total_seconds(),
            rate_hz=case.rate_hz,
            leads=leads,
            samples_mv=samples,
            beats=watched.beats_of(case),
            code=event.code if event else None,
            onset_row=_onset(case),
            heart_rate_bpm=event.heart_rate_bpm if event else None,
            measured=event.evidence.measured if event else {},
        )


def _onset(case: Case) -> int | None:
    return None if case.onset is None else case.onset - case.start


def _began(record: str) -> datetime | None:
    """Return when a recording began, where it states that and the time can be shifted."""
    with open_source(record, block_s=SILENT_S) as source:
        began = source.start_utc
    return began if began is not None and began >= ORIGIN else None


def _of_document(alert: Alert) -> Iterator[Item]:
    strip = alert.strip
    if strip is None:
        return
    samples = strip.decode()
    rows = len(samples)
    if not 0 < rows <= MAX_SECONDS * strip.rate_hz:
        return
    began = begins_at(alert, strip, rows)
    if began < ORIGIN:
        raise LabError(f"an alert of {began:%Y} cannot be shifted: its clock was wrong")
    yield Item(
        source=f"alert@{alert.alert_id}",
        kind="episode",
        at=began,
        offset_s=0.0,
        rate_hz=strip.rate_hz,
        leads=strip.leads,
        samples_mv=samples,
        beats=[(beat.row, beat.label) for beat in strip.beats],
        code=alert.code,
        onset_row=strip.onset_row,
        heart_rate_bpm=alert.heart_rate_bpm,
        measured=alert.evidence.measured,
        synthetic=alert.synthetic,
    )

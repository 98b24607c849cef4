"""What a monitor decides of a record, kept, and the alarms that follow from it.

The stages before the rules cost nearly all of the time, and no model of alarms changes them. They
run once a record (`decide`); the rules then run with the answers of any model (`replay`), as
`tocsin_agent.monitor.patient` lets them run, but for the alarms of the equipment that do not come
from the signal. `tests/unit/training/test_timeline.py` holds both against each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.messages.alert import Evidence, SignalQuality
from tocsin_agent.monitor.alarms.episodes import Alarms, Transition
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.alarms.table import ALARMS
from tocsin_agent.monitor.alarms.verification import Verifier, verdicts_of
from tocsin_agent.monitor.labels.half_minutes import with_half_minutes
from tocsin_agent.monitor.labels.labeller import Labeller
from tocsin_agent.monitor.patient import FLUSH_S
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.rhythm import Rhythm
from tocsin_agent.monitor.rhythm.verdicts import Verdicts
from tocsin_agent.monitor.timeline import Item
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_dsp.conditioning.condition import Conditioner
from tocsin_dsp.conditioning.quality import Hop, QualityMeter
from tocsin_dsp.leads.leads import LeadSet
from tocsin_dsp.rhythms.evidence import FEATURES
from tocsin_dsp.rhythms.fibrillation import WindowObserver
from tocsin_dsp.rhythms.irregularity import IrregularityObserver
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models

Entry: TypeAlias = Item | int
"""An item, or the analysis index at which the signal begins or continues after a gap."""


class Recorded(NamedTuple):
    """The decisions about a record, and the features at every half second with a candidate.

    `at` (n,) are analysis indices, `x` (n, features), `why` what opened each candidate; `entries`
    lack the beats of single leads, which only the features need.
    """

    spec: StreamSpec
    samples: int
    entries: list[Entry]
    stop: int
    at: NDArray[np.int64]
    x: NDArray[np.float32]
    why: list[str]


def decide(source: Source, models: Models) -> Recorded:
    """Run the stages of a monitor over an open record, up to the rules."""
    spec = source.spec
    condition = Conditioner(spec)
    quality, leads = QualityMeter(len(spec.leads), spec.range_mv), LeadSet(len(spec.leads))
    windows, half_minutes = WindowObserver(len(spec.leads)), IrregularityObserver()
    labels = Labeller(spec.leads, models)
    verifier = Verifier(len(spec.leads), models._replace(alarms=None), Verdicts())
    entries: list[Entry] = []
    found: list[tuple[int, str, list[float]]] = []
    samples = stop = 0
    for block in _blocks(source):
        samples = block.start_index  # at last that of the samples which were appended
        piece = condition.push(block)
        if piece.restarted:
            quality.skip_to(piece.start)
            verifier.restart()
            entries.append(piece.start)
        observed = leads.push(piece, quality.push(piece.samples))
        labelled = labels.push(windows.push(piece, observed))
        for item in labels.in_rhythm(with_half_minutes(half_minutes, labelled)):
            verifier.take(item)
            if not isinstance(item, Hop):
                entries.append(item)
                continue
            entries.append(item._replace(beats=()))  # only the features need them
            described = verifier.features(item.stop)
            if described is not None:
                found.append((item.stop, *described))
        stop = piece.stop
    return Recorded(
        spec,
        samples,
        entries,
        stop,
        np.array([at for at, _, _ in found], np.int64),
        np.array([x for _, _, x in found], np.float32).reshape(-1, len(FEATURES)),
        [why for _, why, _ in found],
    )


def replay(recorded: Recorded, answers: NDArray[np.float32]) -> list[AlertEvent]:
    """Let the rules raise their alarms.

    Parameters
    ----------
    recorded : Recorded
    answers : ndarray of float32, shape (n, 2)
        Of the model of alarms about `recorded.x`.

    Returns
    -------
    list of AlertEvent
        Without heart rate, quality, text and strip.
    """
    verdicts, alarms = Verdicts(), Alarms()
    verdicts.active = True
    rhythm = Rhythm(recorded.spec.leads, Limits(), verdicts)
    asked = {at: i for i, at in enumerate(recorded.at.tolist())}
    rounded = answers.astype(float).round(3).tolist()
    transitions: list[Transition] = []
    for entry in recorded.entries:
        if isinstance(entry, int):
            verdicts.clear()
            rhythm.restart()
            continue
        transitions += alarms.step(entry.decided, rhythm.pass_time(entry.decided))
        if isinstance(entry, Hop):
            verdicts.clear()
            i = asked.get(entry.stop)
            if i is not None:
                features = recorded.x[i].astype(float).tolist()
                verdicts.tachycardia, verdicts.fibrillation = verdicts_of(
                    entry.stop, recorded.why[i], rounded[i], features
                )
        transitions += alarms.step(entry.decided, rhythm.take(entry))
    transitions += alarms.step(recorded.stop, rhythm.pass_time(recorded.stop))
    transitions += alarms.close_all(recorded.stop, "the recording ended")
    source = Conditioner(recorded.spec)
    return [_event(transition, source) for transition in transitions]


def _blocks(source: Source) -> Iterator[SampleBlock]:
    """Yield a record, and then missing samples that decide its last beats, as `finish` does."""
    spec, stop = source.spec, 0
    try:
        while True:
            block = source.read(1.0)
            if block is not None:
                stop = block.stop_index
                yield block
    except EndOfStream:
        rows = round(FLUSH_S * spec.rate_hz)
        yield SampleBlock(spec, stop, np.full((rows, len(spec.leads)), np.nan))


def _event(transition: Transition, source: Conditioner) -> AlertEvent:
    phase, at, sequence, episode, finding = transition
    measured = finding.measured | ({"ended": episode.ended_by} if episode.ended_by else {})
    return AlertEvent(
        alert_id=f"{episode.code}:{episode.first.subject}:{episode.first.onset}",
        sequence=sequence,
        phase=phase,
        kind=ALARMS[episode.code].kind,
        code=episode.code,
        priority=episode.priority,
        onset_index=source.to_source(episode.first.onset),
        detected_index=source.to_source(at) + source.delay,
        heart_rate_bpm=None,
        evidence=Evidence(finding.rule, finding.limits, measured),
        signal_quality=SignalQuality({}),
        text="",
    )

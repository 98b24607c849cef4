"""The whole job on one screen: samples of one patient in, alerts out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tocsin_agent.alarms import ALARMS, Alarms, AlertEvent, Transition
from tocsin_agent.alert import Evidence, Phase, SignalQuality, Strip, make_alert_id
from tocsin_agent.rhythm import Beat, Finding, Limits, Rhythm
from tocsin_dsp.condition import Conditioned, Conditioner
from tocsin_dsp.errors import ModelError, SignalError, SignalFault
from tocsin_dsp.leads import LeadBeat, LeadSet, Observation
from tocsin_dsp.quality import Hop, QualityMeter
from tocsin_dsp.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import LABELS, BeatModel

UNKNOWN = (LABELS.index("Q"), 0.0)
STRIP_S = 10
STRIP_LEADS = 2
"""Ten seconds of two leads keep an alert below 20,480 bytes, the smallest broker's limit."""


class LabelledBeat(NamedTuple):
    """A beat as reported; `r_index` and `decided_index` are source samples."""

    r_index: int
    label: str
    decided_index: int
    lead: str
    probability: float


class Report(NamedTuple):
    """What some samples told: the beats labelled and the alerts that rang."""

    beats: list[LabelledBeat]
    alerts: list[AlertEvent]


class PatientMonitor:
    """Listen to one stream. Any cutting of the same samples gives the same reports, concatenated.

    Parameters
    ----------
    spec : StreamSpec
    limits : Limits, optional
    model : BeatModel, optional
        Without one `model_failed` rings, beats are labelled Q, and the alarms that need no labels
        go on.
    """

    def __init__(
        self, spec: StreamSpec, limits: Limits | None = None, model: BeatModel | None = None
    ) -> None:
        self.spec = spec
        self._model = model
        self._model_fault = "" if model else "no model"
        self._condition = Conditioner(spec)
        self._quality = QualityMeter(len(spec.leads), spec.range_mv)
        self._leads = LeadSet(len(spec.leads))
        self._rhythm = Rhythm(spec.leads, limits or Limits())
        self._alarms = Alarms()
        self._now = 0  # analysis index: all before it is known
        self._hop: Hop | None = None
        self._recent = np.empty((0, len(spec.leads)))  # analysis samples before `_now`, for strips

    def push(self, block: SampleBlock) -> Report:
        """Take the next block of the stream.

        Raises
        ------
        SignalError
            If the block belongs to another stream: make a monitor for that one.
        """
        if block.spec != self.spec:
            raise SignalError(SignalFault.LEADS, f"a block of {block.spec} came to {self.spec}")
        piece = self._condition.push(block)
        if piece.restarted:
            self._restart(piece)
        hops = self._quality.push(piece.samples)
        beats = self._classify(self._leads.push(piece, hops))
        self._remember(piece)
        alerts = self._close("source_lost", "samples arrive again") if len(block) else []
        if piece.jumped_by:
            alerts += self._clock_jumped(piece)
        for item in beats:
            now = item.stop if isinstance(item, Hop) else item.decided
            alerts += self._step(now, item)
        alerts += self._step(piece.stop)
        self._forget()
        return Report([self._report(b) for b in beats if isinstance(b, Beat)], alerts)

    def finish(self) -> Report:
        """End a finite stream: what is still open ends with it."""
        told = self._alarms.close_all(self._now, "the recording ended")
        return Report([], [self._event(t) for t in told])

    def source_lost(self) -> Report:
        """Be told that no samples come, which samples cannot tell; ends when they come again."""
        rule = "no samples within the source's timeout"
        finding = Finding("source_lost", self._now, self._now, rule, {}, {})
        return Report([], [self._event(t) for t in self._alarms.step(self._now, [finding])])

    # -- the steps ---------------------------------------------------------------------------

    def _classify(self, seen: list[Observation]) -> list[Beat | Hop]:
        """Label all the beats at once; what cannot be read, or not be labelled, is Q."""
        readable = [o.view for o in seen if isinstance(o, LeadBeat) and o.view.readable]
        answers: Iterator[tuple[int, float]] = iter(())
        if readable and self._model is not None:
            try:
                given = self._model.classify(
                    np.array([v.shapes for v in readable]), np.array([v.features for v in readable])
                )
                best = given.argmax(axis=1)
                top = given[np.arange(len(best)), best]
                answers = zip(best.tolist(), np.round(top, 3).tolist(), strict=True)
            except ModelError as error:
                self._model, self._model_fault = None, error.reason.value
        labelled: list[Beat | Hop] = []
        for o in seen:
            if isinstance(o, Hop):
                labelled.append(o)
                continue
            label, probability = next(answers, UNKNOWN) if o.view.readable else UNKNOWN
            labelled.append(
                Beat(
                    o.view.r_index, o.view.decided, LABELS[label], probability,
                    self.spec.leads[o.lead],
                )
            )  # fmt: skip
        return labelled

    def _step(self, now: int, item: Beat | Hop | None = None) -> list[AlertEvent]:
        """Let stream time pass to `now`, then take what was decided there."""
        self._now = now
        told = self._alarms.step(now, self._rhythm.pass_time(now))
        alerts = [self._event(t) for t in told]  # as known before the item, however late it comes
        if item is None:
            return alerts
        findings = self._rhythm.take(item)
        if isinstance(item, Hop):
            self._hop = item
            if self._model_fault:
                findings.append(self._model_failed(now))
        return alerts + [self._event(t) for t in self._alarms.step(now, findings)]

    def _restart(self, piece: Conditioned) -> None:
        """Begin, or go on after a gap too long to bridge."""
        self._quality.skip_to(piece.start)
        self._rhythm.restart()
        self._recent = self._recent[:0]
        self._now = piece.start

    def _clock_jumped(self, piece: Conditioned) -> list[AlertEvent]:
        seconds = piece.jumped_by / self.spec.rate_hz
        rule = "a block began earlier than the one before it"
        finding = Finding(
            "clock_jump", piece.start, piece.start, rule, {}, {"seconds": round(seconds, 3)}
        )
        return [self._event(t) for t in self._alarms.step(piece.start, [finding])]

    def _model_failed(self, now: int) -> Finding:
        rule = "the classifier is missing, was refused or answered nonsense"
        return Finding("model_failed", now, now, rule, {}, {"reason": self._model_fault})

    def _close(self, code: str, reason: str) -> list[AlertEvent]:
        return [self._event(t) for t in self._alarms.close(code, self._now, reason)]

    # -- what is said ------------------------------------------------------------------------

    def _report(self, beat: Beat) -> LabelledBeat:
        source = self._condition
        return LabelledBeat(
            source.to_source(beat.r_index), beat.label,
            source.to_source(beat.decided) + source.delay, beat.lead, beat.probability,
        )  # fmt: skip

    def _event(self, told: Transition) -> AlertEvent:
        episode, finding, source = told.episode, told.finding, self._condition
        first = episode.first
        alarm = ALARMS[episode.code]
        key = f"{episode.code}:{first.subject}" if first.subject else episode.code
        text = alarm.text.format(**finding.measured)
        measured = dict(finding.measured)
        if told.phase is not Phase.ONSET:
            measured["occurrences"] = float(episode.occurrences)
        if told.phase is Phase.END:
            lasted_s = (finding.seen - first.onset) / ANALYSIS_RATE_HZ
            measured["ended"] = episode.ended_by
            name = episode.code.replace("_", " ").capitalize()
            text = (
                f"{name} is over: {episode.ended_by}; last seen {lasted_s:.0f} s after its onset."
            )
        certain = {} if finding.certainty is None else {"V": finding.certainty}
        model = f"{self._model.name}@{self._model.sha256[:12]}" if self._model else None
        return AlertEvent(
            alert_id=make_alert_id(self.spec.stream_id, key, first.onset),
            sequence=told.sequence,
            phase=told.phase,
            kind=alarm.kind,
            code=episode.code,
            priority=episode.priority,
            onset_index=source.to_source(first.onset),
            detected_index=source.to_source(told.at) + source.delay,
            heart_rate_bpm=self._rhythm.heart_rate_bpm(told.at),
            evidence=Evidence(finding.rule, finding.limits, measured, model, certain),
            signal_quality=self._signal_quality(),
            text=text,
            strip=self._strip(told.at) if told.phase is Phase.ONSET else None,
        )

    def _signal_quality(self) -> SignalQuality:
        if self._hop is None:
            return SignalQuality({}, None)
        leads = dict(zip(self.spec.leads, self._hop.values, strict=True))
        return SignalQuality(leads, self.spec.leads[self._hop.used])

    def _remember(self, piece: Conditioned) -> None:
        self._recent = np.concatenate((self._recent, piece.samples))
        self._recent_stop = piece.stop

    def _forget(self) -> None:
        self._recent = self._recent[-(STRIP_S + 2) * ANALYSIS_RATE_HZ :]

    def _strip(self, at: int) -> Strip | None:
        """Return the ten seconds before `at` of the lead in use and the next one."""
        if len(self._recent) == 0:
            return None
        used = self._hop.used if self._hop else 0
        columns = [used, *(c for c in range(len(self.spec.leads)) if c != used)][:STRIP_LEADS]
        first = self._recent_stop - len(self._recent)
        start = max(at - STRIP_S * ANALYSIS_RATE_HZ, first)
        rows = self._recent[start - first : max(at - first, 0), columns]
        names = tuple(self.spec.leads[c] for c in columns)
        begins = self._condition.to_source(start)
        return Strip.encode(names, float(ANALYSIS_RATE_HZ), begins, rows)

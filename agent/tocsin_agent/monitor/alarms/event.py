"""From the transition of an episode to an alert event: evidence, quality, text and strip."""

from __future__ import annotations

from collections import deque

import msgspec
import numpy as np

from tocsin_agent.messages.alert import (
    Evidence,
    Kind,
    Phase,
    Priority,
    SignalQuality,
    Strip,
    StripBeat,
    make_alert_id,
)
from tocsin_agent.monitor.alarms.episodes import Episode, Transition
from tocsin_agent.monitor.alarms.reasons import explain
from tocsin_agent.monitor.alarms.table import ALARMS, SUPPORTS, UNKNOWN_REASON
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.timeline import Beat, Item
from tocsin_dsp.conditioning.condition import Conditioned, Conditioner
from tocsin_dsp.conditioning.quality import Hop
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.signal import FloatArray, StreamSpec

STRIP_S = 10
STRIP_LEADS = 2
"""Ten seconds of two leads keep an alert below 20,480 bytes, the smallest broker's limit."""
_KEPT = (STRIP_S + 2) * ANALYSIS_RATE_HZ
_BEATS_KEPT = 64
"""More labelled beats than ten seconds can hold: a beat needs 0.2 s."""


class AlertEvent(msgspec.Struct, frozen=True):
    """An alert in stream time, before a clock and a device are added.

    Its fields are those of `tocsin_agent.messages.alert.Alert` that the monitor knows; indices are
    source samples.
    """

    alert_id: str
    sequence: int
    phase: Phase
    kind: Kind
    code: str
    priority: Priority
    onset_index: int
    detected_index: int
    heart_rate_bpm: float | None
    evidence: Evidence
    signal_quality: SignalQuality
    text: str
    strip: Strip | None = None


class EventWriter:
    """Keep the last seconds, the last quality and the last trust, and write the events.

    Parameters
    ----------
    spec : StreamSpec
    source : Conditioner
        Converts analysis indices to source samples.
    """

    def __init__(self, spec: StreamSpec, source: Conditioner) -> None:
        self._spec, self._source = spec, source
        self._recent: deque[FloatArray] = deque()  # pieces: joined when a strip is asked for
        self._held = 0  # rows in them
        self._stop = 0  # analysis index after the last
        self._beats: deque[tuple[int, str]] = deque(maxlen=_BEATS_KEPT)  # analysis index, label
        self._hop: Hop | None = None
        self._trusted = True  # the last beat

    def remember(self, piece: Conditioned) -> None:
        """Keep samples: those of this piece, and as many before it as a strip may need."""
        if piece.restarted:
            self._recent.clear()
            self._beats.clear()
            self._held = 0
        self._recent.append(piece.samples)
        while self._held - len(self._recent[0]) >= _KEPT:
            self._held -= len(self._recent.popleft())
        self._held += len(piece.samples)
        self._stop = piece.stop

    def take(self, item: Item) -> None:
        """Keep the newest quality, the labels of the last beats, and the trust of the newest."""
        if isinstance(item, Hop):
            self._hop = item
        elif isinstance(item, Beat):
            self._trusted = item.trusted
            self._beats.append((item.r_index, item.label))

    def event(
        self, transition: Transition, heart_rate_bpm: float | None, model: str | None
    ) -> AlertEvent:
        """Return the event, as known at the instant of the transition.

        Parameters
        ----------
        transition : Transition
        heart_rate_bpm : float or None
            At that instant.
        model : str or None
            `name@hash` of the model that the finding rests on.
        """
        phase, at, sequence, episode, finding = transition
        first, alarm = episode.first, ALARMS[episode.code]
        key = f"{episode.code}:{first.subject}" if first.subject else episode.code
        measured = finding.measured | explain(finding.reasons)
        text = alarm.text.format(**{"reason": UNKNOWN_REASON} | finding.measured)
        if phase is not Phase.ONSET:
            measured["occurrences"] = float(episode.occurrences)
        if phase is Phase.END:
            measured["ended"] = episode.ended_by
            text = _end_text(episode, finding)
        probabilities = {}
        if finding.probability is not None and alarm.model is not None:
            label = SUPPORTS[finding.model].label if finding.model else alarm.model.label
            probabilities = {label: finding.probability}
        return AlertEvent(
            alert_id=make_alert_id(self._spec.stream_id, key, first.onset),
            sequence=sequence,
            phase=phase,
            kind=alarm.kind,
            code=episode.code,
            priority=episode.priority,
            onset_index=self._source.to_source(first.onset),
            detected_index=self._source.to_source(at) + self._source.delay,
            heart_rate_bpm=heart_rate_bpm,
            evidence=Evidence(finding.rule, finding.limits, measured, model, probabilities),
            signal_quality=self.signal_quality(),
            text=text,
            strip=self._strip(at, first.onset) if _shows_ecg(transition) else None,
        )

    def signal_quality(self) -> SignalQuality:
        """Return how well each lead can be read now."""
        if self._hop is None:
            return SignalQuality({}, None, self._trusted)
        leads = dict(zip(self._spec.leads, self._hop.values, strict=True))
        return SignalQuality(leads, self._spec.leads[self._hop.used], self._trusted)

    def _strip(self, at: int, onset: int) -> Strip | None:
        """Return the ten seconds before `at` of the lead in use and the next one."""
        if self._held == 0:
            return None
        used = self._hop.used if self._hop else 0
        columns = [used, *(c for c in range(len(self._spec.leads)) if c != used)][:STRIP_LEADS]
        first = self._stop - self._held
        start = max(at - STRIP_S * ANALYSIS_RATE_HZ, first)
        recent = np.concatenate(self._recent)
        rows = recent[start - first : max(at - first, 0), columns]
        return Strip.encode(
            tuple(self._spec.leads[c] for c in columns),
            float(ANALYSIS_RATE_HZ),
            self._source.to_source(start),
            rows,
            beats=tuple(StripBeat(r - start, label) for r, label in self._beats if start <= r < at),
            onset_row=onset - start if start <= onset < at else None,
        )


def _shows_ecg(transition: Transition) -> bool:
    """Return whether an event carries a strip: every onset, and each phase of high priority."""
    onset = transition.phase is Phase.ONSET
    return onset or transition.episode.priority is Priority.HIGH


def _end_text(episode: Episode, last: Finding) -> str:
    name = episode.code.replace("_", " ").capitalize()
    lasted_s = (last.at - episode.first.onset) / ANALYSIS_RATE_HZ
    return f"{name} is over: {episode.ended_by}; last found {lasted_s:.0f} s after its onset."

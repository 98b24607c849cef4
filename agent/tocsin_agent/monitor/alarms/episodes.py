"""Alarms: from findings to episodes with onset, update and end.

One mechanism serves every condition. A finding opens an episode or is seen within the one that is
open; the episode ends when the condition has not been seen for its hold time. A graver condition
silences those that it implies for as long as it lasts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tocsin_agent.messages.alert import Phase, Priority
from tocsin_agent.monitor.alarms.table import ALARMS, UPDATE_S
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

FOREVER = 1 << 62


@dataclass(slots=True)
class Episode:
    """A condition from its onset on; the last finding is its evidence."""

    first: Finding
    last: Finding
    told_at: int
    ends_at: int
    sequence: int = 0
    occurrences: int = 1
    ended_by: str = field(default="")

    @property
    def code(self) -> str:
        """The condition."""
        return self.first.code

    @property
    def priority(self) -> Priority:
        """The condition's priority; losing the last lead is graver than losing one of several."""
        return self.first.priority or ALARMS[self.code].priority


class Transition(NamedTuple):
    """What happened to an episode, at an analysis index; `finding` is the evidence then."""

    phase: Phase
    at: int
    sequence: int
    episode: Episode
    finding: Finding


class Alarms:
    """The open episodes, at most one for each condition and lead."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Episode] = {}
        self._ended: dict[tuple[str, str], tuple[int, int]] = {}  # onset and end of the last one
        self._none_ends_before = FOREVER

    def step(self, now: int, findings: list[Finding]) -> list[Transition]:
        """Let time pass to analysis index `now` and take what was found on the way, in order."""
        if not findings and now < self._none_ends_before:
            return []
        told: list[Transition] = []
        for finding in findings:
            self._expire(finding.at, told)
            self._take(finding, told)
        self._expire(now, told)
        return told

    def close(self, code: str, at: int, reason: str, subject: str = "") -> list[Transition]:
        """End an episode for a stated reason, if it is open."""
        told: list[Transition] = []
        self._end((code, subject), at, reason, told)
        return told

    def close_all(self, at: int, reason: str) -> list[Transition]:
        """End every episode for a stated reason."""
        told: list[Transition] = []
        for key in list(self._open):
            self._end(key, at, reason, told)
        return told

    def _take(self, finding: Finding, told: list[Transition]) -> None:
        if any(finding.code in ALARMS[e.code].implies for e in self._open.values()):
            return
        key = (finding.code, finding.subject)
        alarm = ALARMS[finding.code]
        hold = round(alarm.hold_s * ANALYSIS_RATE_HZ) or FOREVER
        episode = self._open.get(key)
        if episode is None:
            onset, ended = self._ended.get(key, (-FOREVER, 0))
            if finding.onset <= onset:  # what began then was told and has ended: this is new
                finding = finding._replace(onset=ended)
            episode = Episode(finding, finding, finding.at, finding.at + hold)
            self._open[key] = episode
            self._none_ends_before = min(self._none_ends_before, episode.ends_at)
            _tell(Phase.ONSET, finding.at, episode, told)
            for implied in [k for k in self._open if k[0] in alarm.implies]:
                self._end(implied, finding.at, f"superseded by {finding.code}", told)
            return
        if finding.onset > episode.last.at:  # it had ceased, and began again
            episode.occurrences += 1
        episode.last = finding
        episode.ends_at = finding.at + hold
        if finding.at - episode.told_at >= UPDATE_S[episode.priority] * ANALYSIS_RATE_HZ:
            episode.told_at = finding.at
            _tell(Phase.UPDATE, finding.at, episode, told)

    def _expire(self, now: int, told: list[Transition]) -> None:
        if now < self._none_ends_before:
            return
        due = [(e.ends_at, key) for key, e in self._open.items() if e.ends_at <= now]
        for at, key in sorted(due):
            self._end(key, at, "no longer seen", told)
        # Being seen again only puts an end off, so that this holds until then.
        ends = (e.ends_at for e in self._open.values())
        self._none_ends_before = min(ends, default=FOREVER)

    def _end(self, key: tuple[str, str], at: int, reason: str, told: list[Transition]) -> None:
        episode = self._open.pop(key, None)
        if episode is not None:
            episode.ended_by = reason
            self._ended[key] = (episode.first.onset, at)
            _tell(Phase.END, at, episode, told)


def _tell(phase: Phase, at: int, episode: Episode, told: list[Transition]) -> None:
    episode.sequence += 1
    told.append(Transition(phase, at, episode.sequence, episode, episode.last))

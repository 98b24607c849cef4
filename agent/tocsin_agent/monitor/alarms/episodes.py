"""From findings to episodes with onset, update and end.

One mechanism serves every condition. A finding opens an episode or belongs to the one that is open;
the episode ends when its condition has not been found for the hold time. A graver condition
suppresses those that it implies for as long as it lasts.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    reported_at: int
    ends_at: int
    sequence: int = 0
    occurrences: int = 1
    ended_by: str = ""

    @property
    def code(self) -> str:
        """The condition."""
        return self.first.code

    @property
    def priority(self) -> Priority:
        """The priority of the condition, or of one that concerns the last lead."""
        alarm = ALARMS[self.code]
        return (self.first.last_lead and alarm.last_lead) or alarm.priority


class Transition(NamedTuple):
    """What happened to an episode, at an analysis index; `finding` is the evidence then."""

    phase: Phase
    at: int
    sequence: int
    episode: Episode
    finding: Finding


class Alarms:
    """The open episodes, at most one for each condition and subject."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Episode] = {}
        self._ended: dict[tuple[str, str], tuple[int, int]] = {}  # onset and end of the last one
        self._none_ends_before = FOREVER

    def step(self, now: int, findings: list[Finding]) -> list[Transition]:
        """Let time pass to analysis index `now`, and take what was found until then, in order."""
        if not findings and now < self._none_ends_before:
            return []
        transitions: list[Transition] = []
        for finding in findings:
            self._expire(finding.at, transitions)
            self._take(finding, transitions)
        self._expire(now, transitions)
        return transitions

    def last_found(self, code: str, subject: str = "") -> int | None:
        """Return when the condition of an open episode was last found; None without one."""
        episode = self._open.get((code, subject))
        return None if episode is None else episode.last.at

    def close(self, code: str, at: int, reason: str, subject: str = "") -> list[Transition]:
        """End an episode for a stated reason, if it is open."""
        transitions: list[Transition] = []
        self._end((code, subject), at, reason, transitions)
        return transitions

    def close_all(self, at: int, reason: str) -> list[Transition]:
        """End every episode for a stated reason."""
        transitions: list[Transition] = []
        for key in list(self._open):
            self._end(key, at, reason, transitions)
        return transitions

    def _take(self, finding: Finding, transitions: list[Transition]) -> None:
        """Open an episode or continue it, unless a graver condition suppresses the finding."""
        if any(finding.code in ALARMS[e.code].implies for e in self._open.values()):
            return
        episode = self._open.get((finding.code, finding.subject))
        if episode is None:
            self._begin(finding, transitions)
            return
        if finding.onset > episode.last.at:  # it had ended, and began again
            episode.occurrences += 1
        changed = finding.measured.get("reason") != episode.last.measured.get("reason")
        episode.last = finding
        episode.ends_at = finding.at + _hold(finding.code)
        if (
            changed
            or finding.at - episode.reported_at >= UPDATE_S[episode.priority] * ANALYSIS_RATE_HZ
        ):
            episode.reported_at = finding.at
            _append(Phase.UPDATE, finding.at, episode, transitions)

    def _begin(self, finding: Finding, transitions: list[Transition]) -> None:
        """Open an episode, and end those of the conditions that it implies."""
        key = (finding.code, finding.subject)
        onset, ended = self._ended.get(key, (-FOREVER, 0))
        if finding.onset <= onset:  # an episode with that onset was reported and has ended
            finding = finding._replace(onset=ended)
        episode = Episode(finding, finding, finding.at, finding.at + _hold(finding.code))
        self._open[key] = episode
        self._none_ends_before = min(self._none_ends_before, episode.ends_at)
        _append(Phase.ONSET, finding.at, episode, transitions)
        for implied in [k for k in self._open if k[0] in ALARMS[finding.code].implies]:
            self._end(implied, finding.at, f"superseded by {finding.code}", transitions)

    def _expire(self, now: int, transitions: list[Transition]) -> None:
        """End the episodes whose hold time is over."""
        if now < self._none_ends_before:
            return
        due = [(e.ends_at, key) for key, e in self._open.items() if e.ends_at <= now]
        for at, key in sorted(due):
            self._end(key, at, "no longer found", transitions)
        # A further finding only postpones an end, so that this holds until then.
        ends = (e.ends_at for e in self._open.values())
        self._none_ends_before = min(ends, default=FOREVER)

    def _end(
        self, key: tuple[str, str], at: int, reason: str, transitions: list[Transition]
    ) -> None:
        episode = self._open.pop(key, None)
        if episode is not None:
            episode.ended_by = reason
            self._ended[key] = (episode.first.onset, at)
            _append(Phase.END, at, episode, transitions)


def _hold(code: str) -> int:
    """Return the hold time of a condition in analysis samples."""
    return round(ALARMS[code].hold_s * ANALYSIS_RATE_HZ) or FOREVER


def _append(phase: Phase, at: int, episode: Episode, transitions: list[Transition]) -> None:
    episode.sequence += 1
    transitions.append(Transition(phase, at, episode.sequence, episode, episode.last))

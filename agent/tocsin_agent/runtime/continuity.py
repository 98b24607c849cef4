"""Ids of a live stream's alerts, and episodes that an interruption of the agent must not cut.

A recording gives the same ids at each reading. A device may count from zero again, so the ids of a
live stream are made from the run of the agent too: none is ever taken for an earlier one.

An episode that an earlier run left open continues under its `alert_id` if the stream goes on where
it was: same stream, later samples, a short gap, and the condition is found again within a minute.
Otherwise it ends as "not known whether it lasts". No other end is given to an episode that the
agent did not follow to its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from tocsin_agent.delivery.committer import SAMPLES_AGAIN, ended_as_unknown
from tocsin_agent.messages.alert import Alert, Kind, Phase

LONGEST_GAP_S = 300.0
FOUND_AGAIN_WITHIN_S = 60.0


@dataclass(slots=True)
class _Episode:
    """An episode of this run: its id, what it continues, and documents that no monitor made."""

    alert_id: str
    continues: Alert | None = None
    extra: int = 0

    @property
    def before(self) -> int:
        """Documents of it beside those of the monitor of this run."""
        return (self.continues.sequence if self.continues is not None else 0) + self.extra


class Continuity:
    """Gives each episode of a live stream its id. Pure.

    Parameters
    ----------
    run : str
        Different in every run of the agent, and for every stream of a run.
    open_alerts : iterable of Alert
        The latest alert of each episode that was left open, by earlier runs or streams.
    stream_id : str
        The stream that begins.
    start_index : int
        Its first sample.
    rate_hz : float
        Samples per second.
    """

    def __init__(
        self,
        run: str,
        open_alerts: Iterable[Alert] = (),
        *,
        stream_id: str,
        start_index: int,
        rate_hz: float,
    ) -> None:
        self._run, self._count = run, 0
        self._episodes: dict[str, _Episode] = {}
        self._left_open: dict[tuple[str, str], Alert] = {}
        self._lost: list[Alert] = []
        for alert in open_alerts:
            gap_s = (start_index - alert.detected_index) / rate_hz
            goes_on = alert.stream == stream_id and 0 <= gap_s <= LONGEST_GAP_S
            subject = _subject(alert)
            if goes_on and alert.code != SAMPLES_AGAIN and subject not in self._left_open:
                self._left_open[subject] = alert
            else:
                self._lost.append(alert)
        self._until_index = start_index + round(FOUND_AGAIN_WITHIN_S * rate_hz)

    def take(self, alert: Alert) -> Alert:
        """Return an alert of the monitor with the id, sequence and onset of its episode."""
        if alert.phase is Phase.ONSET:
            self._count += 1
            continues = self._left_open.pop(_subject(alert), None)
            key = f"{self._run}\x1f{self._count}\x1f{alert.alert_id}".encode()
            made = hashlib.sha256(key).hexdigest()[:32]
            new = _Episode(continues.alert_id if continues else made, continues)
            self._episodes[alert.alert_id] = new
        episode = self._episodes.get(alert.alert_id)
        if episode is None:
            return alert
        if alert.phase is Phase.END:
            del self._episodes[alert.alert_id]
        changed = msgspec.structs.replace(
            alert, alert_id=episode.alert_id, sequence=alert.sequence + episode.before
        )
        if episode.continues is None:
            return changed
        changed = msgspec.structs.replace(
            changed,
            onset_index=episode.continues.onset_index,
            onset_at=episode.continues.onset_at,
        )
        if alert.phase is not Phase.ONSET:
            return changed
        return msgspec.structs.replace(
            changed,
            phase=Phase.UPDATE,
            text=f"Monitoring was restarted; this lasts: {alert.text}",
        )

    def count_extra(self, alert_id: str) -> None:
        """Count a further document of an alert, which its monitor did not make."""
        for episode in self._episodes.values():
            episode.extra += episode.alert_id == alert_id

    def due(self, position: int, now: datetime) -> list[Alert]:
        """Return the ends of the episodes that do not continue; each is returned once."""
        lost, self._lost = self._lost, []
        if position >= self._until_index:
            lost += self._left_open.values()
            self._left_open.clear()
        return [ended_as_unknown(alert, now) for alert in lost]


def _subject(alert: Alert) -> tuple[str, str]:
    """Return what makes two episodes the same condition: its code, and a technical one's lead."""
    measured = alert.evidence.measured
    subject = next((measured[name] for name in ("lead", "model", "fault") if name in measured), "")
    return alert.code, str(subject) if alert.kind is Kind.TECHNICAL else ""

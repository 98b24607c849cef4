"""What a board knows of the beds, from the messages that have arrived. Pure: time is passed in."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from tocsin_agent.messages.active import Active, ActiveAlert, AlertState, MonitorState
from tocsin_agent.messages.alert import Alert, Phase
from tocsin_agent.messages.response import Response
from tocsin_agent.team.answers import Answer
from tocsin_agent.team.feed import ActiveSeen, AlertSeen, ConnectionSeen, Item, ResponseSeen
from tocsin_agent.team.feed import StatusSeen as DeviceSeen

STALE_S = 35.0
"""A device that is online and has not sent `active` for so long is shown as silent."""
UNANSWERED_S = 10.0
MAX_BEDS = 1000
MAX_STRIPS = 500
MAX_ANSWERS = 100

Device: TypeAlias = tuple[str, str]


class Alive(StrEnum):
    """Whether a device can raise an alert now."""

    YES = "yes"
    NO = "no"
    STOPPED = "stopped"
    SILENT = "silent"


class Line(NamedTuple):
    """One line of the board: an open alert of a bed, or a bed without one.

    Parameters
    ----------
    key : str
        The alert's id, or site and device.
    site, device, place : str
        Where.
    alive : Alive
    silent_s : float
        Seconds since the device sent what is active.
    active : Active or None
        None for a device that has sent alerts only.
    alert : ActiveAlert or None
    """

    key: str
    site: str
    device: str
    place: str
    alive: Alive
    silent_s: float
    active: Active | None
    alert: ActiveAlert | None


class Outstanding(NamedTuple):
    """An answer that was sent, where to, and what the device said; None while it has not."""

    answer: Answer
    place: str
    sent_at: datetime
    response: Response | None = None


@dataclass(slots=True)
class _Bed:
    status: str = ""
    active: Active | None = None
    at: datetime | None = None  # when `active` was sent
    location: str | None = None


class Ward:
    """The beds of a board, their open alerts, the strips, and the answers on their way."""

    def __init__(self) -> None:
        self.connected = False
        self.trouble = ""
        self.left_out = 0  # messages of devices beyond `MAX_BEDS`
        self.unproven = 0  # alerts whose signature is not that of their device
        self._beds: dict[Device, _Bed] = {}
        self._alerts: OrderedDict[str, Alert] = OrderedDict()  # the last one with a strip
        self._open: dict[str, Alert] = {}  # of devices that do not send `active`
        self._answers: OrderedDict[str, Outstanding] = OrderedDict()

    def take(self, item: Item, now: datetime) -> None:
        """Take what arrived."""
        match item:
            case AlertSeen():
                self._take_alert(item)
            case ActiveSeen():
                bed = self._bed(item.address.site, item.address.device)
                bed.active = item.active
                sent_at = item.active.at if item.active else now
                bed.at = min(sent_at, now) if item.retained else now
            case DeviceSeen():
                self._bed(item.address.site, item.address.device).status = item.status.state
            case ResponseSeen():
                waiting = self._answers.get(item.response.id or "")
                if waiting is not None:
                    answered = waiting._replace(response=item.response)
                    self._answers[waiting.answer.message.id] = answered
            case ConnectionSeen():
                self.connected = item.connected
                self.trouble = "" if item.connected else item.message

    def sent(self, answer: Answer, place: str, now: datetime) -> None:
        """Remember an answer that was sent, to say what becomes of it."""
        self._answers[answer.message.id] = Outstanding(answer, place, now)
        while len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)

    @property
    def last_answer(self) -> Outstanding | None:
        """The answer that was sent last."""
        return next(reversed(self._answers.values()), None)

    def alert(self, alert_id: str) -> Alert | None:
        """Return the latest document of an alert, one with a strip if any arrived."""
        return self._alerts.get(alert_id)

    def lines(self, now: datetime) -> list[Line]:
        """Return the lines: what nobody has accepted first, the graver first; then quiet beds."""
        lines = [line for device, bed in self._beds.items() for line in self._of(device, bed, now)]
        return sorted(lines, key=_order)

    def _bed(self, site: str, device: str) -> _Bed:
        """Return a bed; one that has no place on the board any more is counted, and not shown."""
        if (site, device) not in self._beds and len(self._beds) >= MAX_BEDS:
            self.left_out += 1
            return _Bed()
        return self._beds.setdefault((site, device), _Bed())

    def _of(self, device: Device, bed: _Bed, now: datetime) -> list[Line]:
        silent_s = (now - bed.at).total_seconds() if bed.at is not None else 0.0
        site, name = device
        place = (bed.active.location if bed.active else None) or bed.location
        place = place or f"{site}/{name}"
        alerts = bed.active.alerts if bed.active else tuple(self._from_documents(device))
        bare = Line(
            f"{site}/{name}", site, name, place[:1].upper() + place[1:],
            _alive(bed, silent_s), silent_s, bed.active, None,
        )  # fmt: skip
        return [bare._replace(key=a.alert_id, alert=a) for a in alerts] or [bare]

    def _take_alert(self, item: AlertSeen) -> None:
        alert = item.alert
        bed = self._bed(alert.site, alert.device)
        if item.origin is not None and not item.origin.genuine:
            self.unproven += 1  # what is open is on `active`, signed; a forger fills no line here
            return
        bed.location = alert.location
        known = self._alerts.get(alert.alert_id)
        if alert.strip is not None or known is None or known.strip is None:
            self._alerts[alert.alert_id] = alert
            self._alerts.move_to_end(alert.alert_id)
            while len(self._alerts) > MAX_STRIPS:
                self._alerts.popitem(last=False)
        if alert.phase is Phase.END:
            self._open.pop(alert.alert_id, None)
        else:
            self._open[alert.alert_id] = alert
            while len(self._open) > MAX_STRIPS:
                self._open.pop(next(iter(self._open)))

    def _from_documents(self, device: Device) -> list[ActiveAlert]:
        """Return the open alerts of a device that sends alerts only, as they were last sent."""
        return [
            ActiveAlert(
                alert_id=alert.alert_id,
                sequence=alert.sequence,
                code=alert.code,
                kind=alert.kind,
                priority=alert.priority,
                state=AlertState.UNACKNOWLEDGED,
                since=alert.onset_at,
                text=alert.text,
                heart_rate_bpm=alert.heart_rate_bpm,
                level=alert.escalation.to or "",
                repeats=alert.escalation.repeat,
            )
            for alert in self._open.values()
            if (alert.site, alert.device) == device
        ]


def _alive(bed: _Bed, silent_s: float) -> Alive:
    if bed.status == "offline":
        return Alive.NO
    if bed.status == "stopped" or (bed.active and bed.active.monitor is MonitorState.STOPPED):
        return Alive.STOPPED
    if bed.active is not None and silent_s > STALE_S:
        return Alive.SILENT
    return Alive.YES


def _order(line: Line) -> tuple[int, int, bool, float, str]:
    """Order: not accepted, accepted, dead devices, quiet beds; the graver and what lasts first."""
    alert = line.alert
    if alert is None:
        dead = line.alive in {Alive.NO, Alive.SILENT}
        return 2 if dead else 3, 0, False, 0.0, line.place
    accepted = int(alert.state is AlertState.ACKNOWLEDGED)
    ended, since_s = alert.ended_at is not None, alert.since.timestamp()
    return accepted, alert.priority.rank, ended, since_s, line.place

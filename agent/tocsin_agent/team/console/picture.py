"""What the console knows of beds and alerts, from what has arrived. Pure: time is passed in."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from tocsin_agent.messages.active import Active, ActiveAlert, AlertState, MonitorState
from tocsin_agent.messages.alert import Alert, Audience, Phase
from tocsin_agent.messages.lease import Lease, LeaseState
from tocsin_agent.team.board.ward import MAX_BEDS, STALE_S, Device
from tocsin_agent.team.console.protocol import (
    AlertView,
    BedView,
    PresenceShown,
    State,
)
from tocsin_agent.team.console.wording import (
    Latest,
    leads_of,
    short,
    view_of_active,
    view_of_document,
)
from tocsin_agent.team.context import in_words
from tocsin_agent.team.feed import (
    ActiveSeen,
    AlertSeen,
    ConnectionSeen,
    Item,
    PresenceSeen,
    StatusSeen,
    TrendSeen,
)
from tocsin_agent.team.language import Language

MAX_CLOSED = 10
"""Documents of alerts that are no longer open, kept for what is said about their closing."""
MAX_OPEN = 100
"""Open alerts of one bed that are known by their documents alone."""
MAX_WHOLE = 20
"""Alerts of one bed, the gravest, that are sent with their reasons."""
MAX_LEASES = 1000
_MAX_BEAT_S = 3600.0

EventName: TypeAlias = Literal[
    "onset", "update", "end", "repeat", "level", "accepted", "given_back", "silenced", "closed"
]


class News(NamedTuple):
    """Something that happened to an alert."""

    event: EventName
    device: Device
    alert_id: str


class Changes(NamedTuple):
    """What an item changed.

    Parameters
    ----------
    beds : set of Device
    gone : set of Device
    news : list of News
    leases : set of (site, role)
    """

    beds: set[Device]
    gone: set[Device]
    news: list[News]
    leases: set[tuple[str, str]]


@dataclass(slots=True)
class _Bed:
    status: str = ""
    active: Active | None = None
    at: datetime | None = None  # when `active` was sent
    seen_at: datetime | None = None
    location: str | None = None
    patient: str | None = None
    synthetic: bool = False
    documents: OrderedDict[str, Latest] = field(default_factory=OrderedDict)
    sent_at: dict[str, datetime] = field(default_factory=dict)  # of the documents that are open
    last_beat_at: datetime | None = None


class Picture:
    """The beds of all sites, their alerts, and who is present.

    A device states on `active` what is open; a document that was sent after that message is open
    too, until the next one. So an alert is shown when its document arrives, and is gone when its
    device says so.

    Reason for its size: one place that knows all beds.

    Attributes
    ----------
    connected : bool
        Whether the server has a connection to the broker.
    since : datetime
        Since when.
    reason : str
        Why not.
    left_out : int
        Messages of devices beyond `MAX_BEDS`.
    """

    def __init__(self, now: datetime) -> None:
        self.connected, self.since, self.reason = False, now, ""
        self.left_out = 0
        self._beds: dict[Device, _Bed] = {}
        self._leases: dict[tuple[str, str], Lease] = {}
        self._stale: set[Device] = set()
        self._confirm_by: dict[tuple[str, str], datetime] = {}

    def take(self, item: Item, now: datetime) -> Changes:
        """Take what arrived, and return what it changed."""
        changes = Changes(set(), set(), [], set())
        match item:
            case AlertSeen():
                self._take_alert(item, now, changes)
            case ActiveSeen():
                self._take_active(item, now, changes)
            case StatusSeen():
                device = (item.address.site, item.address.device)
                bed = self._bed(device)
                bed.status = item.status.state
                bed.seen_at = bed.seen_at if item.retained else now
                if device in self._beds:
                    changes.beds.add(device)
            case TrendSeen():
                bed = self._bed((item.trend.site, item.trend.device))
                bed.synthetic = item.trend.synthetic
            case PresenceSeen():
                role = (item.address.site, item.address.leaf)
                if item.lease is None:
                    self._leases.pop(role, None)
                elif role in self._leases or len(self._leases) < MAX_LEASES:
                    self._leases[role] = item.lease
                changes.leases.add(role)
            case ConnectionSeen():
                self.connected, self.since = item.connected, now
                self.reason = "" if item.connected else short(item.message)
                changes.beds.update(self._beds)
        return changes

    def beat(self, device: Device, piece_at: datetime, seconds: float) -> None:
        """Take when the last beat of a bed was: so long after a piece of its waveform began."""
        bed = self._beds.get(device)
        if bed is not None and abs(seconds) < _MAX_BEAT_S:
            bed.last_beat_at = piece_at + timedelta(seconds=seconds)

    def aged(self, now: datetime) -> set[Device]:
        """Return the beds that became stale, or no longer are, since the last call."""
        stale = {device for device, bed in self._beds.items() if self._state(bed, now) == "silent"}
        changed, self._stale = stale ^ self._stale, stale
        return changed

    def devices(self) -> list[Device]:
        """Return all beds, in an order that stays."""
        return sorted(self._beds)

    def bed(self, device: Device, now: datetime, language: Language) -> BedView:
        """Return a bed as it is now.

        Raises
        ------
        KeyError
            If there is no such bed.
        """
        bed = self._beds[device]
        active, state = bed.active, self._state(bed, now)
        site, name = device
        place = (active.location if active else None) or bed.location or f"{site}/{name}"
        stale = state in {"silent", "offline"} or not self.connected
        alerts = self._alerts(bed, language)
        low = any(alert.code == "battery_low" for alert in alerts)
        rate = active.heart_rate_bpm if active and state == "monitoring" and not stale else None
        return BedView(
            site=site,
            device=name,
            place=short(place[:1].upper() + place[1:]),
            patient=_short((active.patient if active else None) or bed.patient),
            heart_rate_bpm=rate,
            leads=leads_of(active) if active is not None else (),
            battery="low" if low else None,
            state=state,
            stale=stale,
            last_seen_at=bed.seen_at,
            stale_at=bed.at + timedelta(seconds=STALE_S) if bed.at is not None else None,
            last_beat_at=bed.last_beat_at,
            synthetic=bed.synthetic or any(alert.synthetic for alert in alerts),
            context=short(in_words(active.context, language, None)) if active else "",
            presence=_presence_of(active) if active else None,
            faults=tuple(short(fault) for fault in active.faults) if active else (),
            waveforms=tuple(short(lead) for lead in active.waveforms) if active else (),
            alerts=tuple(alerts),
        )

    def alert(self, device: Device, alert_id: str, language: Language) -> AlertView | None:
        """Return an alert as it is now, open or just closed; None if it is not known."""
        if (known := self.open_alert(device, alert_id, language)) is not None:
            return known
        bed = self._beds.get(device)
        if bed is None:
            return None
        latest = bed.documents.get(alert_id)
        return view_of_document(latest, language) if latest is not None else None

    def open_alert(self, device: Device, alert_id: str, language: Language) -> AlertView | None:
        """Return an alert that is open; None if it is not."""
        bed = self._beds.get(device)
        if bed is None:
            return None
        latest, active = bed.documents.get(alert_id), bed.active
        for alert in active.alerts if active is not None else ():
            if active is not None and alert.alert_id == alert_id:
                return view_of_active(active, alert, latest, language)
        if alert_id in bed.sent_at and latest is not None:
            return view_of_document(latest, language)
        return None

    def place(self, device: Device) -> str:
        """Return where a bed is."""
        bed = self._beds.get(device) or _Bed()
        place = (bed.active.location if bed.active else None) or bed.location or "/".join(device)
        return short(place[:1].upper() + place[1:])

    def presence(self, now: datetime) -> tuple[PresenceShown, ...]:
        """Return the leases of all sites."""
        return tuple(self.lease(role, now) for role in sorted(self._leases))

    def lease(self, role: tuple[str, str], now: datetime) -> PresenceShown:
        """Return who holds a role at a site."""
        lease = self._leases.get(role)
        present = lease is not None and lease.state is LeaseState.PRESENT and lease.expires_at > now
        return PresenceShown(
            site=short(role[0]),
            role=short(role[1]),
            who=short(lease.id) if lease is not None else None,
            present=present,
            until=lease.expires_at if lease is not None and present else None,
            confirm_by=self._confirm_by.get(role) if present else None,
        )

    def confirmed(self, role: tuple[str, str], until: datetime | None) -> None:
        """Take until when a press at this console is good for; None: it has ended."""
        if until is None:
            self._confirm_by.pop(role, None)
        else:
            self._confirm_by[role] = until

    def _take_alert(self, item: AlertSeen, now: datetime, changes: Changes) -> None:
        alert, device = item.alert, (item.alert.site, item.alert.device)
        bed = self._bed(device)
        if device not in self._beds:
            return
        bed.location, bed.patient = alert.location or bed.location, alert.patient or bed.patient
        bed.seen_at, bed.synthetic = now, alert.synthetic
        unproven = ""
        if item.origin is not None and not item.origin.genuine:
            unproven = item.origin.reason or "not signed"
        known = bed.documents.get(alert.alert_id)
        if known is not None and unproven and not known.unproven:
            return  # a forger changes nothing of a genuine alert
        repeated = item.repeated or (known is not None and known.alert.sequence > alert.sequence)
        if known is None or known.alert.sequence <= alert.sequence or known.unproven:
            bed.documents[alert.alert_id] = Latest(alert, item.audience, unproven)
            bed.documents.move_to_end(alert.alert_id)
        self._note_open(bed, alert, now)
        changes.beds.add(device)
        event: EventName = "repeat" if repeated else alert.phase.value
        if alert.escalation.to not in {None, *Audience} and not item.repeated:
            event = "level"
        changes.news.append(News(event, device, alert.alert_id))

    @staticmethod
    def _note_open(bed: _Bed, alert: Alert, now: datetime) -> None:
        if alert.phase is Phase.END and bed.active is None:
            bed.sent_at.pop(alert.alert_id, None)
        else:
            bed.sent_at[alert.alert_id] = alert.published_at or now
        while len(bed.sent_at) > MAX_OPEN:
            bed.sent_at.pop(next(iter(bed.sent_at)))
        _bound(bed)

    def _take_active(self, item: ActiveSeen, now: datetime, changes: Changes) -> None:
        device = (item.address.site, item.address.device)
        active = item.active
        if active is None:
            if self._beds.pop(device, None) is not None:
                changes.gone.add(device)
            return
        bed = self._bed(device)
        if device not in self._beds:
            return
        before = {alert.alert_id: alert for alert in bed.active.alerts} if bed.active else {}
        listed = {alert.alert_id: alert for alert in active.alerts}
        if not (item.retained and bed.active is None):
            for alert_id, event in _happened(before, listed, set(bed.documents)):
                changes.news.append(News(event, device, alert_id))
        bed.active = active
        bed.at = min(active.at, now) if item.retained else now
        if not item.retained or bed.seen_at is None:
            bed.seen_at = bed.at
        # What was sent before this message and is not listed in it is closed.
        for alert_id, sent_at in list(bed.sent_at.items()):
            if alert_id in listed or sent_at <= active.at:
                del bed.sent_at[alert_id]
        _bound(bed)
        changes.beds.add(device)

    def _bed(self, device: Device) -> _Bed:
        """Return a bed; one that has no place any more is counted, and not kept."""
        if device not in self._beds and len(self._beds) >= MAX_BEDS:
            self.left_out += 1
            return _Bed()
        return self._beds.setdefault(device, _Bed())

    @staticmethod
    def _state(bed: _Bed, now: datetime) -> State:
        if bed.status == "offline":
            return "offline"
        active = bed.active
        if bed.status == "stopped" or (active and active.monitor is MonitorState.STOPPED):
            return "stopped"
        if active is None:
            return "unknown"
        if bed.at is not None and (now - bed.at).total_seconds() > STALE_S:
            return "silent"
        return active.monitor.value

    @staticmethod
    def _alerts(bed: _Bed, language: Language) -> list[AlertView]:
        """Return the open alerts of a bed, the gravest first, then what lasts longest."""
        views = list[AlertView]()
        listed = bed.active.alerts if bed.active else ()
        if bed.active is not None:
            for alert in listed:
                latest = bed.documents.get(alert.alert_id)
                views.append(view_of_active(bed.active, alert, latest, language))
        ids = {alert.alert_id for alert in listed}
        for alert_id in bed.sent_at:
            latest = bed.documents.get(alert_id)
            if alert_id not in ids and latest is not None:
                views.append(view_of_document(latest, language))
        views.sort(key=_order)
        # A page that shows so many lists them; it fetches what else it shows of one.
        return [*views[:MAX_WHOLE], *(_light(view) for view in views[MAX_WHOLE:])]


def _happened(
    before: dict[str, ActiveAlert], listed: dict[str, ActiveAlert], documents: set[str]
) -> list[tuple[str, EventName]]:
    """Return what the people and the device did between two `active` messages."""
    found = list[tuple[str, EventName]]()
    for alert_id, alert in listed.items():
        was = before.get(alert_id)
        if was is None:
            if alert_id not in documents:
                found.append((alert_id, "onset"))
            if alert.holder is None:
                continue
        if alert.holder != (was.holder if was else None):
            found.append((alert_id, "accepted" if alert.holder is not None else "given_back"))
        until = alert.silenced_until
        if until is not None and (was is None or until != was.silenced_until):
            found.append((alert_id, "silenced"))
    found.extend((alert_id, "closed") for alert_id in before if alert_id not in listed)
    return found


def _light(alert: AlertView) -> AlertView:
    return msgspec.structs.replace(alert, why=None, right=(), what_to_do="")


def _order(alert: AlertView) -> tuple[int, int, bool, float]:
    accepted = int(alert.state is AlertState.ACKNOWLEDGED)
    return accepted, alert.priority.rank, alert.ended_at is not None, alert.since.timestamp()


def _bound(bed: _Bed) -> None:
    """Drop the oldest documents of alerts that are not open."""
    listed = {alert.alert_id for alert in bed.active.alerts} if bed.active else set()
    spare = len(bed.documents) - MAX_CLOSED
    for alert_id in list(bed.documents):
        if spare <= 0:
            return
        if alert_id not in listed and alert_id not in bed.sent_at:
            del bed.documents[alert_id]
            spare -= 1


def _presence_of(active: Active) -> PresenceShown | None:
    view = active.presence
    if view is None:
        return None
    return PresenceShown(
        site=active.site,
        role=_short(view.role) or "",
        who=_short(view.id),
        present=view.attended,
        until=None,
    )


def _short(text: str | None) -> str | None:
    return short(text) if text else None

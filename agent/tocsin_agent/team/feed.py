"""What is new in a message: each alert once, each change of a device or of who is present.

Pure: `Receiver` keeps the connection and feeds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import msgspec

from tocsin_agent.messages.active import Active, ActiveAlert, decode_active
from tocsin_agent.messages.additions import decode_with_additions
from tocsin_agent.messages.alert import Alert, Audience, Phase
from tocsin_agent.messages.lease import Lease, decode_lease
from tocsin_agent.messages.receipt import Received
from tocsin_agent.messages.response import Response, decode_response
from tocsin_agent.messages.status import Status, decode_status
from tocsin_agent.messages.topics import Address, Branch, parse
from tocsin_agent.messages.trend import Trend, decode_trend
from tocsin_agent.messages.waveform import Waveform, decode_waveform
from tocsin_agent.signing.keyring import Verdict
from tocsin_agent.team.shown import ShownAlerts

_MAX_SHOWN_BYTES = 4096  # of a malformed payload, which may be megabytes
_ALERT_BRANCHES = {
    Branch.ALERT: Audience.TEAM,
    Branch.TECHNICAL: Audience.TEAM,
    Branch.ESCALATION: Audience.TEAM,
    Branch.BEDSIDE: Audience.BEDSIDE,
}


@dataclass(frozen=True, slots=True)
class AlertSeen:
    """An alert that this receiver has not shown to this audience yet.

    Parameters
    ----------
    alert : Alert
        The document.
    audience : Audience
        To whom the topic belongs on which it arrived.
    topic : str
        The topic.
    again : bool
        True if it was shown before, to the other audience: a handover to the team.
    missed_onset : bool
        True for an update or an end of an episode whose onset did not arrive here.
    repeated : bool
        True if this audience has the document, and it is sent again because nobody accepted it.
    origin : Verdict or None
        Who signed it; None where signatures are not verified.
    """

    alert: Alert
    audience: Audience
    topic: str
    again: bool = False
    missed_onset: bool = False
    repeated: bool = False
    origin: Verdict | None = None


@dataclass(frozen=True, slots=True)
class StatusSeen:
    """A device connected, was stopped, or disconnected."""

    status: Status
    address: Address
    topic: str
    retained: bool


@dataclass(frozen=True, slots=True)
class PresenceSeen:
    """A lease has another holder or another state; None if the topic was cleared."""

    lease: Lease | None
    address: Address
    topic: str


@dataclass(frozen=True, slots=True)
class ActiveSeen:
    """What is open at a device now.

    Parameters
    ----------
    active : Active or None
        None if the topic was cleared.
    address : Address
    topic : str
    retained : bool
        True for what was published before this receiver subscribed.
    changed : tuple of ActiveAlert
        The alerts that somebody took or gave back since the last message, or that were open before
        this receiver subscribed.
    """

    active: Active | None
    address: Address
    topic: str
    retained: bool
    changed: tuple[ActiveAlert, ...] = ()


@dataclass(frozen=True, slots=True)
class ResponseSeen:
    """A device answered an acknowledgement."""

    response: Response
    address: Address
    topic: str


@dataclass(frozen=True, slots=True)
class TrendSeen:
    """A minute of a patient that this receiver has not shown yet."""

    trend: Trend
    topic: str


@dataclass(frozen=True, slots=True)
class WaveSeen:
    """A piece of the live ECG of one lead."""

    waveform: Waveform
    address: Address
    topic: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """A payload that is not what its topic carries, is of another device, or is by a stranger."""

    topic: str
    payload: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionSeen:
    """The receiver's own connection was made, or was lost and why."""

    connected: bool
    message: str


Item: TypeAlias = (
    AlertSeen
    | StatusSeen
    | PresenceSeen
    | ActiveSeen
    | ResponseSeen
    | TrendSeen
    | WaveSeen
    | Malformed
    | ConnectionSeen
)


class Feed:
    """Turns messages into what a person should see. Pure; remembers a bounded number of alerts.

    A document belongs to the device and the site that its topic names. Who may publish on a topic
    is the broker's access list; a document that names another device is refused (`Malformed`) and
    never shown as an alert of that device.

    Parameters
    ----------
    shown : ShownAlerts, optional
        The alerts that were shown before, so that they are not shown twice.
    renewals : bool
        True to return each renewal of a lease too, which states until when it is valid.

    Attributes
    ----------
    repeated : int
        Alerts that arrived again for an audience that had them, and were not shown.
    received : dict
        By (site, device): the keys that arrived and that no receipt has named yet.
    """

    def __init__(self, shown: ShownAlerts | None = None, *, renewals: bool = False) -> None:
        self.repeated = 0
        self._renewals = renewals
        self.received: dict[tuple[str, str], set[Received]] = {}
        self._shown = shown if shown is not None else ShownAlerts()
        self._unproven = ShownAlerts()
        self._states: dict[str, str] = {}
        self._holders: dict[str, tuple[str, str]] = {}
        self._who: dict[str, dict[str, str | None]] = {}  # holders by alert, for each device
        self._minutes: dict[str, tuple[str, int]] = {}  # the last trend of each topic

    def take(
        self,
        topic: str,
        payload: bytes,
        *,
        retained: bool = False,
        additions: str = "",
        origin: Verdict | None = None,
    ) -> Item | None:
        """Return what is new in a message; None for a repetition or another topic.

        Parameters
        ----------
        topic : str
        payload : bytes
        retained : bool
            Published before this receiver subscribed.
        additions : str
            The user property of `messages.additions`.
        origin : Verdict, optional
            Who signed it, where signatures are verified. An alert whose origin is not proven is an
            item all the same, and states that: what may save a life is not left out. Anything that
            could say that all is well (an end, a status, what is open, who is present) is not.
        """
        address = parse(topic)
        if address is None:
            return None
        proven = origin is None or origin.genuine
        if origin is not None and not proven and address.branch not in _ALERT_BRANCHES:
            return Malformed(topic, payload, origin.reason) if payload else None
        try:
            if address.branch not in _ALERT_BRANCHES:
                return self._item(topic, payload, address, retained=retained)
            alert = decode_with_additions(payload, additions)
            if not proven and alert.phase is Phase.END:
                return Malformed(topic, payload, origin.reason if origin else "")
            return self._alert(topic, alert, address, origin)
        except (ValueError, OverflowError, RecursionError) as exc:  # msgspec's are ValueErrors
            return Malformed(topic, payload, str(exc))

    def _item(self, topic: str, payload: bytes, address: Address, *, retained: bool) -> Item | None:
        item: Item | None = None
        match address.branch:
            case Branch.STATUS:
                item = self._status(topic, payload, address, retained=retained)
            case Branch.PRESENCE:
                item = self._presence(topic, payload, address)
            case Branch.ACTIVE:
                item = self._active(topic, payload, address, retained=retained)
            case Branch.RESPONSE:
                item = ResponseSeen(decode_response(payload), address, topic)
            case Branch.TREND:
                item = self._trend(topic, payload, address) if payload else None
            case Branch.WAVEFORM:
                waveform = decode_waveform(payload)
                _check_device(waveform.site, waveform.device, address)
                item = WaveSeen(waveform, address, topic)
        return item

    def _alert(
        self, topic: str, alert: Alert, address: Address, origin: Verdict | None
    ) -> AlertSeen | None:
        audience = _ALERT_BRANCHES[address.branch]
        _check_device(alert.site, alert.device, address)
        # A forged document must not take the place of the genuine one that comes after it.
        proven = origin is None or origin.genuine
        shown = self._shown if proven else self._unproven
        if proven:
            self.received.setdefault((address.site, address.device), set()).add(
                Received(*alert.key, audience)
            )
        known = shown.repeats(alert.key)
        repeat = alert.escalation.repeat
        if repeat <= known.get(audience, -1):
            self.repeated += 1
            return None
        onset_shown = bool(shown.repeats((alert.alert_id, 1)))
        missed = alert.phase is not Phase.ONSET and not onset_shown
        item = AlertSeen(
            alert,
            audience,
            topic,
            again=bool(known) and audience not in known,
            missed_onset=missed and not known,
            repeated=audience in known,
            origin=origin,
        )
        shown.add(alert.key, audience, repeat)
        return item

    def _status(
        self, topic: str, payload: bytes, address: Address, *, retained: bool
    ) -> StatusSeen | None:
        if not payload:
            self._states.pop(topic, None)
            return None
        status = decode_status(payload)
        # Other programs may leave the names out of a status: then it is the topic's.
        _check_device(status.site or address.site, status.device or address.device, address)
        if self._states.get(topic) == status.state:
            return None
        self._states[topic] = status.state
        return StatusSeen(status, address, topic, retained)

    def _presence(self, topic: str, payload: bytes, address: Address) -> PresenceSeen | None:
        lease = decode_lease(payload) if payload else None
        if lease is not None and lease.role != address.leaf:
            raise ValueError(f"it names the role {lease.role!r}, its topic {address.leaf!r}")
        now = (lease.id, lease.state) if lease is not None else ("", "")
        if self._holders.get(topic, ("", "")) == now and not self._renewals:
            return None
        self._holders[topic] = now
        return PresenceSeen(lease, address, topic)

    def _active(
        self, topic: str, payload: bytes, address: Address, *, retained: bool
    ) -> ActiveSeen:
        active = decode_active(payload) if payload else None
        if active is not None:
            _check_device(active.site, active.device, address)
        alerts = active.alerts if active else ()
        known = self._who.get(topic)
        changed = tuple(
            alert for alert in alerts if known is None or known.get(alert.alert_id) != alert.holder
        )
        self._who[topic] = {alert.alert_id: alert.holder for alert in alerts}
        return ActiveSeen(active, address, topic, retained, changed)

    def _trend(self, topic: str, payload: bytes, address: Address) -> TrendSeen | None:
        trend = decode_trend(payload)
        _check_device(trend.site, trend.device, address)
        stream, index = self._minutes.get(topic, ("", -1))
        if trend.stream == stream and trend.from_index <= index:
            return None  # sent again after a lost connection
        self._minutes[topic] = (trend.stream, trend.from_index)
        return TrendSeen(trend, topic)


def _check_device(site: str, device: str, address: Address) -> None:
    """Refuse a document of another device than its topic's.

    Raises
    ------
    ValueError
        If they differ.
    """
    if (site, device) != (address.site, address.device):
        raise ValueError(
            f"it names the device {site}/{device}, its topic {address.site}/{address.device}"
        )


def to_json(item: Item, received_at: datetime) -> str:
    """Write an item as one line of JSON for a program.

    Parameters
    ----------
    item : Item
        What was received.
    received_at : datetime
        Aware UTC.
    """
    record: dict[str, object] = {"received_at": received_at}
    match item:
        case AlertSeen():
            record |= {"type": "alert", "topic": item.topic, "again": item.again}
            record["repeated"] = item.repeated
            record["alert"] = item.alert
            if (origin := item.origin) is not None:
                record["signed_by"], record["unproven"] = origin.by, origin.reason or None
        case StatusSeen():
            record |= {"type": "status", "topic": item.topic, "status": item.status}
        case PresenceSeen():
            record |= {"type": "presence", "topic": item.topic, "lease": item.lease}
        case ActiveSeen():
            record |= {"type": "active", "topic": item.topic, "active": item.active}
        case ResponseSeen():
            record |= {"type": "response", "topic": item.topic, "response": item.response}
        case TrendSeen() | WaveSeen():
            kind = "trend" if isinstance(item, TrendSeen) else "waveform"
            record |= {"type": kind, "topic": item.topic, kind: getattr(item, kind)}
        case Malformed():
            text = item.payload[:_MAX_SHOWN_BYTES].decode("utf-8", "replace")
            record |= {"type": "malformed", "topic": item.topic, "reason": item.reason}
            record |= {"payload": text, "bytes": len(item.payload)}
        case ConnectionSeen():
            record |= {"type": "connection", "connected": item.connected, "message": item.message}
    return msgspec.json.encode(record).decode()

"""The topic tree `tocsin/v1/<site>/<device>/…`: the only module that builds and parses topics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from tocsin_agent.messages.alert import Audience, Kind, Priority
from tocsin_agent.messages.printable import clean

ROOT = "tocsin/v1"
ENROLMENT_ROOT = "tocsin-enrolment/v1"
"""Outside of the tree of devices: who may read all of that reads no token."""
REQUEST, RESPONSE = "request", "response"
MAX_LEVEL_CHARS = 64
LEVEL_PATTERN = r"^[^/+#$\x00-\x1f\x7f][^/+#\x00-\x1f\x7f]{0,63}$(?!\n)"
"""Valid names of a site, a device or a role: one topic level without wildcards."""

_LEVEL = re.compile(LEVEL_PATTERN)
_PRESENCE = "presence"
CONTEXT = "context"
"""The last level of the response to a context message, in the place of an alert's id."""


def as_level(name: str) -> str:
    """Return a name as a topic level: what a level cannot hold becomes `_`."""
    level = re.sub(r"[/+#\x00-\x1f\x7f]|^\$", "_", name)[:MAX_LEVEL_CHARS]
    return level or "_"


def check_level(name: str, what: str) -> str:
    """Return `name` if it is a valid topic level.

    Raises
    ------
    ValueError
        If it is empty, too long, or holds ``/``, ``+``, ``#`` or a control character.
    """
    if not _LEVEL.fullmatch(name) or (what == "device" and name == _PRESENCE):
        raise ValueError(
            f"{what} {clean(name, MAX_LEVEL_CHARS)!r} cannot be a topic level: use 1 to "
            f"{MAX_LEVEL_CHARS} characters, none of them '/', '+', '#' or a control character"
            + (f", and not {_PRESENCE!r}" if what == "device" else "")
        )
    return name


class Branch(StrEnum):
    """What a topic below a site carries."""

    ALERT = "alert"
    TECHNICAL = "technical"
    BEDSIDE = "bedside"
    STATUS = "status"
    INFO = "info"
    HEALTH = "health"
    PRESENCE = "presence"
    ESCALATION = "escalation"
    ACK = "ack"
    RESPONSE = "response"
    ACTIVE = "active"
    TREND = "trend"
    CONTEXT = "context"
    RECEIPT = "receipt"
    WAVEFORM = "waveform"
    REVIEW = "review"
    IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one device.

    Reason for its size: one name a branch.

    Parameters
    ----------
    site, device : str
        One topic level each, without wildcards.

    Raises
    ------
    ValueError
        If either is not a valid topic level.
    """

    site: str
    device: str

    def __post_init__(self) -> None:
        check_level(self.site, "site")
        check_level(self.device, "device")

    @property
    def base(self) -> str:
        """The prefix of every topic that this device publishes to."""
        return f"{ROOT}/{self.site}/{self.device}"

    def alert(self, audience: Audience, kind: Kind, priority: Priority) -> str:
        """Return the topic of an alert: to the bedside, or to the team by kind."""
        if audience is Audience.BEDSIDE:
            return f"{self.base}/{Branch.BEDSIDE}/{priority}"
        branch = Branch.TECHNICAL if kind is Kind.TECHNICAL else Branch.ALERT
        return f"{self.base}/{branch}/{priority}"

    @property
    def status(self) -> str:
        """Retained: `online`, `stopped`, or `offline` (by will)."""
        return f"{self.base}/{Branch.STATUS}"

    @property
    def info(self) -> str:
        """Retained: versions and hashes of what runs on the device."""
        return f"{self.base}/{Branch.INFO}"

    @property
    def health(self) -> str:
        """Published periodically, not retained."""
        return f"{self.base}/{Branch.HEALTH}"

    @property
    def active(self) -> str:
        """Retained: the open alerts, and the state of the monitor."""
        return f"{self.base}/{Branch.ACTIVE}"

    @property
    def context(self) -> str:
        """Retained, from a person to the agent: what is known of the patient."""
        return f"{self.base}/{Branch.CONTEXT}"

    @property
    def trend(self) -> str:
        """Retained: the last minute in numbers, and the burdens of the last hour."""
        return f"{self.base}/{Branch.TREND}"

    def level(self, name: str, kind: Kind, priority: Priority) -> str:
        """Return the topic of an alert at a level of the chain, by the level's name.

        The levels `bedside` and `team` have the topics of `alert`, every other one its own.
        """
        if name in {Audience.BEDSIDE, Audience.TEAM}:
            return self.alert(Audience(name), kind, priority)
        return f"{self.base}/{Branch.ESCALATION}/{check_level(name, 'level')}/{priority}"

    def ack(self, alert_id: str) -> str:
        """Retained until the agent has read it: a person's answer to an alert."""
        return f"{self.base}/{Branch.ACK}/{alert_id}"

    def response(self, alert_id: str) -> str:
        """Not retained: what the agent did with an answer."""
        return f"{self.base}/{Branch.RESPONSE}/{alert_id}"

    def receipt(self, receiver: str) -> str:
        """Not retained, from a receiver to the agent: which alerts it has shown."""
        return f"{self.base}/{Branch.RECEIPT}/{check_level(receiver, 'receiver')}"

    def own(self, branch: Branch) -> list[str]:
        """Return the topic filters of what this device publishes on one branch."""
        return [f"{self.base}/{branch}" + ("" if branch is Branch.STATUS else "/+")]

    def waveform(self, lead: str) -> str:
        """Not retained, QoS 0: the ECG of one lead, live."""
        return f"{self.base}/{Branch.WAVEFORM}/{as_level(lead)}"

    def review(self, alert_id: str) -> str:
        """Not retained, from a person to whoever reviews alarms: what they say about an alert."""
        return f"{self.base}/{Branch.REVIEW}/{alert_id}"

    @property
    def renewal(self) -> str:
        """Not retained, to whoever signs at the site: a request for a new certificate."""
        return f"{self.base}/{Branch.IDENTITY}/{REQUEST}"

    @property
    def renewed(self) -> str:
        """Not retained, to the agent: the new certificate, or why there is none."""
        return f"{self.base}/{Branch.IDENTITY}/{RESPONSE}"

    @property
    def receipts(self) -> str:
        """The topic filter of the receipts of every receiver."""
        return f"{self.base}/{Branch.RECEIPT}/+"


def enrolment_request_topic(site: str, request_id: str) -> str:
    """Return the topic of a request with a token, of a gateway that has no certificate yet."""
    return f"{ENROLMENT_ROOT}/{check_level(site, 'site')}/{REQUEST}/{request_id}"


def enrolment_response_topic(site: str, request_id: str) -> str:
    """Return the topic of the answer to one request with a token."""
    return f"{ENROLMENT_ROOT}/{check_level(site, 'site')}/{RESPONSE}/{request_id}"


def identity_filters(site: str) -> list[str]:
    """Return the topic filters of whoever signs at a site: requests with tokens, and renewals."""
    return [
        f"{ENROLMENT_ROOT}/{check_level(site, 'site')}/{REQUEST}/+",
        f"{ROOT}/{site}/+/{Branch.IDENTITY}/{REQUEST}",
    ]


def presence_topic(site: str, role: str) -> str:
    """Return the topic on which the lease of a role is retained."""
    return f"{ROOT}/{check_level(site, 'site')}/{_PRESENCE}/{check_level(role, 'role')}"


def watch_filters(audience: str, site: str = "+", device: str = "+") -> list[str]:
    """Return the topic filters of a receiver: alerts of its audience, status and presence.

    Parameters
    ----------
    audience : str
        ``team``, ``bedside`` or ``all``.
    site, device : str
        One level each, or ``+`` for all.
    """
    base = f"{ROOT}/{site}"
    return [
        *alert_filters(audience, site, device),
        f"{base}/{device}/{Branch.STATUS}",
        f"{base}/{_PRESENCE}/+",
    ]


def alert_filters(audience: str, site: str = "+", device: str = "+") -> list[str]:
    """Return the topic filters of the alerts of an audience; parameters as in `watch_filters`."""
    for name, what in ((site, "site"), (device, "device")):
        if name != "+":
            check_level(name, what)
    team = [Branch.ALERT, Branch.TECHNICAL] if audience != Audience.BEDSIDE else []
    bedside = [Branch.BEDSIDE] if audience != Audience.TEAM else []
    base = f"{ROOT}/{site}/{device}"
    return [
        *(f"{base}/{branch}/+" for branch in team + bedside),
        *([f"{base}/{Branch.ESCALATION}/+/+"] if audience == "all" else []),
    ]


def shared(filters: list[str], group: str) -> list[str]:
    """Return filters that the members of a group share (MQTT 5, 4.8.2): one gets each message.

    A broker sends no retained message to a shared filter, and promises no order among members.
    """
    return [f"$share/{check_level(group, 'group')}/{one}" for one in filters]


def level_filter(level: str, site: str = "+", device: str = "+") -> str:
    """Return the topic filter of one further level of the chain, such as `second-team`."""
    return f"{ROOT}/{site}/{device}/{Branch.ESCALATION}/{check_level(level, 'level')}/+"


def active_filter(site: str = "+", device: str = "+") -> str:
    """Return the topic filter of what is open at a device."""
    return f"{ROOT}/{site}/{device}/{Branch.ACTIVE}"


def board_filters(site: str = "+", device: str = "+") -> list[str]:
    """Return the topic filters of a board: all alerts, and what is active and answered."""
    return [
        *watch_filters("all", site, device),
        active_filter(site, device),
        response_filter(site, device),
    ]


def response_filter(site: str = "+", device: str = "+") -> str:
    """Return the topic filter of what devices answer to acknowledgements."""
    return f"{ROOT}/{site}/{device}/{Branch.RESPONSE}/+"


def trend_filter(site: str = "+", device: str = "+") -> str:
    """Return the topic filter of the trends of a device, or of all with ``+``."""
    for name, what in ((site, "site"), (device, "device")):
        if name != "+":
            check_level(name, what)
    return f"{ROOT}/{site}/{device}/{Branch.TREND}"


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed topic.

    Parameters
    ----------
    branch : Branch
        What the message carries.
    site : str
        The site.
    device : str
        The device; empty for presence, which belongs to the site.
    leaf : str
        Priority, role, alert id or receiver, where the branch has one.
    level : str
        The level of the chain, for escalation.
    """

    branch: Branch
    site: str
    device: str
    leaf: str
    level: str = ""


def parse(topic: str) -> Address | None:
    """Parse a topic; None if it is not in this tree."""
    if not topic.startswith(ROOT + "/"):
        return None
    levels = topic[len(ROOT) + 1 :].split("/")
    if len(levels) == 3 and levels[1] == _PRESENCE:
        return Address(Branch.PRESENCE, levels[0], "", levels[2])
    if len(levels) == 5 and levels[2] == Branch.ESCALATION:
        return Address(Branch.ESCALATION, levels[0], levels[1], levels[4], levels[3])
    if len(levels) not in {3, 4} or levels[2] not in set(Branch):
        return None
    return Address(Branch(levels[2]), levels[0], levels[1], levels[3] if len(levels) == 4 else "")

"""A person's answers to alerts: what is published, and how the device's response is recognised."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from tocsin_agent.messages.acknowledgement import (
    Acknowledgement,
    Action,
    encode_acknowledgement,
)
from tocsin_agent.messages.active import Active, ActiveAlert
from tocsin_agent.messages.topics import Topics

SILENCE_S = 120.0
ALERT_ID_CHARS = 32


class Answer(NamedTuple):
    """An acknowledgement, and the topics on which it is sent and answered."""

    message: Acknowledgement
    topic: str
    response_topic: str

    @property
    def payload(self) -> bytes:
        """What is published, retained: a device that is away finds it when it connects."""
        return encode_acknowledgement(self.message)


class Found(NamedTuple):
    """An open alert and the device that has it."""

    active: Active
    alert: ActiveAlert


def answer(
    site: str,
    device: str,
    alert_id: str,
    *,
    who: str,
    role: str,
    action: Action,
    at: datetime,
    silence_s: float | None = None,
) -> Answer:
    """Make an answer with an id of its own.

    Parameters
    ----------
    site, device : str
        Of the alert.
    alert_id : str
        All 32 characters.
    who, role : str
        A staff pseudonym, and in which role it answers.
    action : Action
    at : datetime
        Aware UTC.
    silence_s : float, optional
        For how long, with `Action.SILENCE` only; 120 s if unset.

    Raises
    ------
    ValueError
        If a name is too long or the alert id is none.
    """
    if action is Action.SILENCE and silence_s is None:
        silence_s = SILENCE_S
    if len(alert_id) != ALERT_ID_CHARS:
        raise ValueError(f"an alert id has {ALERT_ID_CHARS} characters, {alert_id!r} has not")
    if not 0 < len(who) <= 128 or not 0 < len(role) <= 64:
        raise ValueError("use 1 to 128 characters for who answers, 1 to 64 for the role")
    message = Acknowledgement(
        id=uuid.uuid4().hex,
        alert_id=alert_id,
        who=who,
        role=role,
        action=action,
        silence_s=silence_s,
        at=at,
    )
    topics = Topics(site, device)
    return Answer(message, topics.ack(alert_id), topics.response(alert_id))


def find(devices: Iterable[Active], prefix: str) -> list[Found]:
    """Return the open alerts whose id begins with a prefix, the gravest first."""
    found = [
        Found(active, alert)
        for active in devices
        for alert in active.alerts
        if alert.alert_id.startswith(prefix.lower())
    ]
    return sorted(found, key=lambda one: (one.alert.priority.rank, one.alert.since))

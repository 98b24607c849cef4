"""The context of a patient for people: in words, and as the message that states it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, NamedTuple

import msgspec

from tocsin_agent.messages.context import AgeClass, ContextMessage, PatientContext, encode_context
from tocsin_agent.messages.printable import clean
from tocsin_agent.messages.topics import CONTEXT, Topics
from tocsin_agent.team.language import Language
from tocsin_agent.team.terminal import clock_in_zone


class Statement(NamedTuple):
    """A context message, and the topics on which it is sent and answered."""

    message: ContextMessage
    topic: str
    response_topic: str

    @property
    def payload(self) -> bytes:
        """What is published, retained: a device that is away finds it when it connects."""
        return encode_context(self.message)


def state(
    site: str,
    device: str,
    context: PatientContext | None,
    *,
    who: str,
    role: str,
    at: datetime,
    patient: str | None = None,
    until: datetime | None = None,
) -> Statement:
    """Make a context message with an id of its own.

    Parameters
    ----------
    site, device : str
        Whose context it is.
    context : PatientContext or None
        None makes the configured context apply again.
    who, role : str
        A staff pseudonym, and in which role it states the context.
    at : datetime
        Aware UTC.
    patient : str, optional
        Refused by a device that has another patient.
    until : datetime, optional
        From when on the configured context applies again.

    Raises
    ------
    ValueError
        If a name is too long, or none.
    """
    if not 0 < len(who) <= 128 or not 0 < len(role) <= 64:
        raise ValueError("use 1 to 128 characters for who states it, 1 to 64 for the role")
    message = ContextMessage(
        id=uuid.uuid4().hex,
        who=who,
        role=role,
        patient=patient,
        at=at,
        until=until,
        context=context,
    )
    topics = Topics(site, device)
    return Statement(message, topics.context, topics.response(CONTEXT))


def read_context(raw: Mapping[str, Any] | None) -> PatientContext:
    """Return the context of an `active` message; of none, one that changes nothing.

    Raises
    ------
    msgspec.ValidationError
        If it is of a later version.
    """
    return msgspec.convert(raw, PatientContext) if raw else PatientContext()


def in_words(raw: Mapping[str, Any] | None, language: Language, zone: tzinfo | None) -> str:
    """Return what changes the alarms: age class, pacemaker, known AF, usual rate, what is off."""
    words = language.words
    try:
        context = read_context(raw)
    except msgspec.ValidationError:
        return clean(str(raw))
    said = {AgeClass.CHILD: [words.child], AgeClass.NEONATE: [words.neonate]}.get(context.age, [])
    said = [*said, *([words.paced] if context.paced else [])]
    if context.atrial_fibrillation:
        said.append(words.known_af)
    if context.usual_rate_bpm is not None:
        said.append(words.usual_rate.format(rate=f"{context.usual_rate_bpm:.0f}"))
    for off in context.do_not_alarm:
        condition = language.condition_of(off.code, {})
        clock = clock_in_zone(off.until, zone)
        said.append(words.switched_off.format(condition=condition, clock=clock))
    return clean("  ·  ".join(said))

"""What is active at the devices, read once from the broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tocsin_agent.messages.active import Active
    from tocsin_agent.mqtt.connection import Connection
    from tocsin_agent.mqtt.events import Message
    from tocsin_agent.team.origin import Origins

_LOOK_S = 1.0


def active_devices(
    connection: Connection,
    origins: Origins,
    where: tuple[str, str],
    enough: Callable[[Sequence[Active]], bool] | None = None,
) -> list[Active]:
    """Return what is active at each device: the retained messages, which arrive at once.

    Parameters
    ----------
    connection : Connection
        Open.
    origins : Origins
        Says which messages can be believed.
    where : tuple of str
        Site and device, or ``+`` for all.
    enough : callable, optional
        Returns true when no further device needs to be waited for.
    """
    from tocsin_agent.messages.active import decode_active
    from tocsin_agent.messages.topics import active_filter

    devices: dict[str, Active] = {}
    for message in retained(connection, [active_filter(*where)], _LOOK_S):
        if not origins.believes(message):
            continue
        try:
            devices[message.topic] = decode_active(message.payload)
        except (ValueError, RecursionError):
            devices.pop(message.topic, None)
        if enough is not None and enough(list(devices.values())):
            break
    return list(devices.values())


def retained(connection: Connection, filters: list[str], look_s: float) -> Iterator[Message]:
    """Yield what arrives until `look_s` after the broker has answered: what is retained, and new.

    A broker sends what is retained right after its answer, which a slow link delays.
    """
    waiting = connection.subscribe(filters)
    deadline_s = time.monotonic() + connection.settings.ack_timeout_s
    while (left_s := deadline_s - time.monotonic()) > 0:
        events = connection.step(left_s)
        if waiting in events.subscribed:
            deadline_s = time.monotonic() + look_s
        for message in events.messages:
            connection.acknowledge(message)
            yield message


def place_of(active: Active) -> str:
    """Return where a device is, as people read it."""
    from tocsin_agent.messages.printable import clean

    place = clean(active.location or f"{active.site}/{active.device}")
    return place[:1].upper() + place[1:]

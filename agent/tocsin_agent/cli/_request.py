"""Publish a message that the device answers, and wait for its response."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tocsin_agent.messages.response import Response
    from tocsin_agent.mqtt.connection import Connection
    from tocsin_agent.team.origin import Origins


class Named(Protocol):
    """A message with an id, which its response repeats."""

    @property
    def id(self) -> str: ...


class Request(Protocol):
    """A message ready to be published, and where its response comes."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def response_topic(self) -> str: ...
    @property
    def message(self) -> Named: ...


def request(
    connection: Connection, origins: Origins, made: Request, timeout_s: float
) -> Response | None:
    """Publish a request, retained, and return the device's response; None after `timeout_s`."""
    from tocsin_agent.messages.response import decode_response

    waiting = connection.subscribe([made.response_topic])
    published = False
    deadline_s = time.monotonic() + timeout_s
    while (left_s := deadline_s - time.monotonic()) > 0:
        events = connection.step(left_s)
        if waiting in events.subscribed and not published:
            connection.publish(made.topic, made.payload, retain=True)
            published = True
        for message in events.messages:
            connection.acknowledge(message)
            if message.topic != made.response_topic or not origins.believes(message):
                continue
            try:
                response = decode_response(message.payload)
            except (ValueError, RecursionError):
                continue
            if response.id == made.message.id:
                return response
    return None

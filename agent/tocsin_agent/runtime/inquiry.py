"""How a program on the same machine asks a running agent how it is: a socket beside the outbox.

A connection gets one JSON object and is closed. A process that stands still accepts none, or does
not answer: who asks takes silence for an answer. The socket is in the folder of the outbox, so
whoever may read the outbox may ask.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.runtime.local_server import WAIT_S, LocalServer, short_address

_LARGEST_BYTES = 1 << 20


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How a running agent is."""

    healthy: bool
    """True while monitoring and delivery turn, and samples flow or `source_lost` is raised."""
    why: str
    """What stands still or is missing; empty if healthy."""
    health: Any
    """The health message, as it is published."""


def socket_of(outbox: Path) -> Path:
    """Return where the agent with this outbox can be asked."""
    return outbox.with_name(f"{outbox.name}.health")


class Inquiry(LocalServer):
    """Answers who asks how the agent is.

    Parameters
    ----------
    outbox : Path
        The outbox of the agent; the socket is beside it.
    answer : callable
        Returns the answer; in the thread of this object.
    """

    def __init__(self, outbox: Path, answer: Callable[[], Answer]) -> None:
        super().__init__(
            socket_of(outbox),
            name="tocsin-inquiry",
            backlog=8,
            without="`tocsin health` gets no answer",
        )
        self._answer = answer

    def _serve(self, connection: socket.socket) -> None:
        connection.sendall(msgspec.json.encode(self._answer()))


def inquire(outbox: Path, wait_s: float = WAIT_S) -> Answer:
    """Ask the agent with this outbox how it is.

    Raises
    ------
    DeliveryError
        AGENT_UNREACHABLE if no agent answers.
    """
    place = socket_of(outbox)
    received = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(wait_s)
            with short_address(place) as address:
                asking.connect(address)
            while (part := asking.recv(65536)) and len(received) < _LARGEST_BYTES:
                received += part
        return msgspec.json.decode(bytes(received), type=Answer)
    except TimeoutError as error:
        why = f"the agent does not answer within {wait_s:g} s at {place}"
        raise DeliveryError(DeliveryFault.AGENT_UNREACHABLE, why) from error
    except (OSError, msgspec.DecodeError) as error:
        why = f"no agent answers at {place}: {error}"
        raise DeliveryError(DeliveryFault.AGENT_UNREACHABLE, why) from error

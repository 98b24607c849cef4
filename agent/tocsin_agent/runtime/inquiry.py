"""How a program on the same machine asks a running agent how it is: a socket beside the outbox.

A connection gets one JSON object and is closed. A process that stands still accepts none, or does
not answer: who asks takes silence for an answer. The socket is in the folder of the outbox, so
whoever may read the outbox may ask.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec

from tocsin_agent.errors import DeliveryError, DeliveryFault

log = logging.getLogger(__name__)

_LARGEST_BYTES = 1 << 20
_WAIT_S = 5.0
_AGAIN_S = 1.0
_CLOSED = (errno.EINVAL, errno.EBADF)  # of a listening socket that was shut down


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


class Inquiry:
    """Answers who asks how the agent is; a context manager with a thread of its own.

    A place that cannot be used is logged: it is no reason not to monitor.

    Parameters
    ----------
    outbox : Path
        The outbox of the agent; the socket is beside it.
    answer : callable
        Returns the answer; in the thread of this object.
    """

    def __init__(self, outbox: Path, answer: Callable[[], Answer]) -> None:
        self._path, self._answer = socket_of(outbox), answer
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="tocsin-inquiry", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._socket = listen_at(self._path, 8)
        except OSError as error:
            log.error("%s: %s; `tocsin health` gets no answer", self._path, error)  # noqa: TRY400
            return self
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is None:
            return
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(_WAIT_S)
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _run(self) -> None:
        assert self._socket is not None  # noqa: S101 - set before the thread starts
        for asked in connections(self._socket):
            try:
                with asked:
                    asked.settimeout(_WAIT_S)
                    asked.sendall(msgspec.json.encode(self._answer()))
            except OSError:
                continue  # who asked has gone
            except Exception:  # the next one is answered all the same
                log.exception("inquiry: unexpected")


def inquire(outbox: Path, wait_s: float = _WAIT_S) -> Answer:
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


def listen_at(path: Path, backlog: int) -> socket.socket:
    """Return a socket that listens at a path, for its owner alone.

    Raises
    ------
    OSError
        If it cannot be made there.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)  # of a killed agent: the outbox has one owner
        with short_address(path) as address:
            listening.bind(address)
        path.chmod(0o600)
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening


def connections(listening: socket.socket) -> Iterator[socket.socket]:
    """Yield each connection until the socket is shut down.

    A process that has no file or no memory left for a connection accepts it later: it stays in the
    queue of the kernel. The log has that once.
    """
    failing = False
    while True:
        try:
            connection, _ = listening.accept()
        except OSError as error:
            if error.errno in _CLOSED:
                return
            if not failing:
                log.error("a local connection cannot be accepted yet: %s", error)  # noqa: TRY400
            failing = True
            time.sleep(_AGAIN_S)
        else:
            failing = False
            yield connection


@contextlib.contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Yield a short name of a socket: the kernel takes 107 bytes, folders may be longer."""
    folder = os.open(path.absolute().parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)

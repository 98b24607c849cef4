"""A socket beside the outbox, at which a running agent serves programs on the same machine."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Self

log = logging.getLogger(__name__)

WAIT_S = 5.0
"""The longest wait for a program that is served, and for the thread that serves it."""
_AGAIN_S = 1.0
_CLOSED = (errno.EINVAL, errno.EBADF)  # of a listening socket that was shut down


class LocalServer(ABC):
    """Serves one connection after the other; a context manager with a thread of its own.

    A place that cannot be used is logged: it is no reason not to monitor.

    Parameters
    ----------
    path : Path
        The socket.
    name : str
        Of the thread.
    backlog : int
        How many connections may wait.
    without : str
        What does not work where the place cannot be used, for the log.
    """

    def __init__(self, path: Path, *, name: str, backlog: int, without: str) -> None:
        self._path, self._backlog, self._without = path, backlog, without
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def _serve(self, connection: socket.socket) -> None:
        """Serve a connection, which is closed then; an `OSError` means that it has gone."""

    def __enter__(self) -> Self:
        try:
            self._socket = _listen_at(self._path, self._backlog)
        except OSError as error:
            log.error("%s: %s; %s", self._path, error, self._without)  # noqa: TRY400
            return self
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_S)
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _run(self) -> None:
        assert self._socket is not None  # noqa: S101 - set before the thread starts
        for connection in self._connections(self._socket):
            try:
                with connection:
                    connection.settimeout(WAIT_S)
                    self._serve(connection)
            except OSError:
                continue
            except Exception:  # the next one is served all the same
                log.exception("%s: unexpected", self._thread.name)

    def _connections(self, listening: socket.socket) -> Iterator[socket.socket]:
        """Yield each connection until the socket is shut down.

        A process that has no file or no memory left for a connection accepts it later: it stays in
        the queue of the kernel. The log has that once.
        """
        failing = False
        while True:
            try:
                connection, _ = listening.accept()
            except OSError as error:
                if error.errno in _CLOSED:
                    return
                if not failing:
                    log.error(  # noqa: TRY400
                        "%s: a connection cannot be accepted yet: %s", self._path, error
                    )
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


def _listen_at(path: Path, backlog: int) -> socket.socket:
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

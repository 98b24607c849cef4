"""Patients of one process are analysed one after the other, as long as each is quick."""

from __future__ import annotations

import threading
import time

LONGEST_S = 0.02
"""Who works for longer is not waited for; a live block takes 1 to 5 ms."""


class Turns:
    """Orders the analyses of all patients of a process.

    Python runs one thread at a time. Threads that analyse at once interrupt each other at every
    NumPy call that releases the interpreter, and wake each millisecond to ask for it. One that
    waits for its turn sleeps. A patient that works for longer than `longest_s` loses its turn to
    the next and goes on beside it, as any two threads do: no patient waits for another one's fault.

    Parameters
    ----------
    longest_s : float
        How long a patient may keep its turn.
    """

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self._longest_s = longest_s
        self._turn, self._since_s = threading.Lock(), 0.0

    def take(self) -> threading.Lock:
        """Wait for the turn; the caller releases what is returned."""
        while True:
            turn = self._turn
            if turn.acquire(timeout=self._longest_s):
                self._since_s = time.monotonic()
                return turn
            if turn is self._turn and time.monotonic() - self._since_s >= self._longest_s:
                self._turn = threading.Lock()


class Turn:
    """The turn of one patient: a context manager, for one thread at a time."""

    def __init__(self, turns: Turns) -> None:
        self._turns, self._taken = turns, threading.Lock()

    def __enter__(self) -> None:
        self._taken = self._turns.take()

    def __exit__(self, *_: object) -> None:
        self._taken.release()

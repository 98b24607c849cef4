"""What was accepted last of each signer on each topic: an older message is a replay.

A signature does not age, and whoever can read a topic can publish its old messages again. The file
is beside the outbox, so that a restart does not open a way back.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import msgspec

from tocsin_agent.regular_file import read_regular

log = logging.getLogger(__name__)

MAX_REMEMBERED = 2000
_MAX_BYTES = 512 * 1024
_SAVE_S = 60.0


class Replays:
    """The latest signed time that was accepted, of each key on each topic.

    Parameters
    ----------
    path : Path, optional
        Where it is kept; without it, it lasts as long as the process.
    now_s : callable, optional
        Returns seconds on a clock that is never set; for tests.
    """

    def __init__(self, path: Path | None = None, now_s: Callable[[], float] = monotonic) -> None:
        self._path, self._now_s = path, now_s
        self._saved_s = float("-inf")
        self._last = OrderedDict(self._read())

    @classmethod
    def beside(cls, outbox: Path) -> Replays:
        """Return the memory that belongs to an outbox."""
        return cls(outbox.with_name(f"{outbox.name}.signed"))

    def is_old(self, topic: str, key: str, at_us: int) -> bool:
        """Return whether a later message of this key on this topic was accepted before."""
        return at_us < self._last.get(f"{topic} {key}", 0)

    def note(self, topic: str, key: str, at_us: int, *, keep: bool) -> None:
        """Remember an accepted message; with `keep` on disk at once, else within a minute."""
        name = f"{topic} {key}"
        if self._last.get(name) == at_us:
            return
        self._last[name] = at_us
        self._last.move_to_end(name)
        while len(self._last) > MAX_REMEMBERED:
            self._last.popitem(last=False)
        if self._path is not None and (keep or self._now_s() - self._saved_s >= _SAVE_S):
            self._save(self._path)

    def end(self, topic: str, key: str) -> None:
        """Refuse from here on what was accepted last, too: its sender has lost the connection."""
        name = f"{topic} {key}"
        self._last[name] = self._last.get(name, 0) + 1

    def _save(self, path: Path) -> None:
        self._saved_s = self._now_s()
        new = path.with_name(f"{path.name}.new")
        try:
            new.write_bytes(msgspec.json.encode(self._last))
            new.chmod(0o600)
            new.replace(path)
        except OSError as error:
            log.error("%s cannot be written (%s)", path, error.strerror)  # noqa: TRY400

    def _read(self) -> dict[str, int]:
        if self._path is None:
            return {}
        try:
            return msgspec.json.decode(read_regular(self._path, _MAX_BYTES), type=dict[str, int])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, RecursionError) as error:
            log.error("%s cannot be read (%s)", self._path, error)  # noqa: TRY400
            return {}

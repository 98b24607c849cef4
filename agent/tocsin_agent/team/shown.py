"""Which alerts a receiver has shown: a bounded number, in memory, or on disk over a restart."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from pathlib import Path

from tocsin_agent.messages.alert import Audience, Key
from tocsin_agent.messages.topics import as_level

log = logging.getLogger(__name__)

MAX_REMEMBERED = 10_000


class ShownAlerts:
    """The last repeat of each alert that was shown to each audience.

    Parameters
    ----------
    remember : int
        How many alerts are remembered: the newest.
    file : Path, optional
        Where `keep` writes; what it holds was shown before. A file that cannot be read or written
        is logged, and only memory is used.
    """

    def __init__(self, remember: int = MAX_REMEMBERED, file: Path | None = None) -> None:
        self._remember, self._file = remember, file
        self._shown: OrderedDict[Key, dict[Audience, int]] = OrderedDict()
        self._lines = 0
        if file is not None:
            self._load(file)

    def __len__(self) -> int:
        """Return how many alerts are remembered."""
        return len(self._shown)

    def repeats(self, key: Key) -> dict[Audience, int]:
        """Return the last repeat that was shown to each audience; empty where none was."""
        return self._shown.get(key, {})

    def add(self, key: Key, audience: Audience, repeat: int) -> None:
        """Note that an alert is shown now."""
        self._shown[key] = self._shown.get(key, {}) | {audience: repeat}
        self._shown.move_to_end(key)
        while len(self._shown) > self._remember:
            self._shown.popitem(last=False)

    def keep(self, key: Key) -> None:
        """Write that an alert has been shown, so that it is known after a restart."""
        if self._file is None or key not in self._shown:
            return
        try:
            if self._lines >= 2 * self._remember:
                self._write_all(self._file)
            with self._file.open("a", encoding="ascii") as file:
                file.write(_lines(key, self._shown[key]))
            self._lines += 1
        except OSError as exc:
            self._forget_file(exc)

    def _load(self, file: Path) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(0o600)
            lines = file.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError as exc:
            self._forget_file(exc)
            return
        for line in lines:
            try:
                alert_id, sequence, audience, repeat = line.split(" ")
                self.add((alert_id, int(sequence)), Audience(audience), int(repeat))
            except ValueError:
                continue  # the end of a file that was written when the power failed
        self._lines = len(lines)

    def _write_all(self, file: Path) -> None:
        new = file.with_name(file.name + ".new")
        text = "".join(_lines(key, repeats) for key, repeats in self._shown.items())
        new.touch(0o600)
        new.write_text(text, encoding="ascii")
        new.replace(file)
        self._lines = len(self._shown)

    def _forget_file(self, exc: OSError) -> None:
        log.warning(
            "%s cannot be used (%s): after a restart alerts may be shown a second time",
            self._file,
            exc.strerror,
        )
        self._file = None


def session_file(session: str) -> Path:
    """Return where a session of this user keeps what it has shown."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "tocsin" / f"watch-{as_level(session)}.shown"


def _lines(key: Key, repeats: dict[Audience, int]) -> str:
    return "".join(f"{key[0]} {key[1]} {who} {repeat}\n" for who, repeat in repeats.items())

"""The releases that this device has used, remembered away from the folder of the models.

A signature proves who made a model, not when. Whoever can swap the card with the models, or remove
its files, could bring back an older model with a known defect; this file is beside the outbox.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from tocsin_agent.durable_file import replace_file
from tocsin_agent.regular_file import read_regular

log = logging.getLogger(__name__)

_MAX_BYTES = 64 * 1024
_MAX_VERSIONS = 32  # a model


class Used(msgspec.Struct, frozen=True):
    """What was used of one model: the highest release, and the versions installed here."""

    newest: int = 0
    versions: tuple[str, ...] = ()


class ReleaseMemory:
    """Which releases of each model this device has used.

    Parameters
    ----------
    path : Path or None
        The file; None remembers nothing, and allows everything.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    @classmethod
    def beside(cls, outbox: Path) -> ReleaseMemory:
        """Return the memory that belongs to an outbox."""
        return cls(outbox.with_name(f"{outbox.name}.releases"))

    def newest(self, name: str) -> int:
        """Return the highest release of a model that was used; 0 where none was."""
        return self._read().get(name, Used()).newest

    def allows(self, name: str, version: str, release: int) -> bool:
        """Return whether a version may be used: not older than what was used, or installed here."""
        used = self._read().get(name, Used())
        return release >= used.newest or version in used.versions

    def note(self, name: str, version: str, release: int) -> None:
        """Remember that a version was installed; on return that survives a power cut."""
        if self.path is None:
            return
        known = self._read()
        used = known.get(name, Used())
        others = tuple(old for old in used.versions if old != version)
        versions = (*others, version)[-_MAX_VERSIONS:]
        known[name] = Used(max(used.newest, release), versions)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, msgspec.json.encode(known))
        except OSError as error:
            log.error("%s cannot be written (%s)", self.path, error.strerror)  # noqa: TRY400

    def _read(self) -> dict[str, Used]:
        if self.path is None:
            return {}
        try:
            return msgspec.json.decode(read_regular(self.path, _MAX_BYTES), type=dict[str, Used])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, RecursionError) as error:
            log.error("%s cannot be read (%s)", self.path, error)  # noqa: TRY400
            return {}

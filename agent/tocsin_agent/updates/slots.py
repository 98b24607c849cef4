"""Two slots for versions of the agent, beside the installed package.

::

    <folder>/a, <folder>/b    a version each: manifest, signatures, packages
    <folder>/state            which one is in use, is tried, and was before

The package is never changed and is the version of last resort. One file names everything and is
replaced by a rename, so a power cut leaves the state before a change or after it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from tocsin_agent.durable_file import remove_folder, replace_file, sync_folder
from tocsin_agent.errors import UpdateError, UpdateFault
from tocsin_agent.regular_file import read_regular
from tocsin_agent.updates.slot_state import PACKAGE, State

log = logging.getLogger(__name__)

_MAX_BYTES = 256 * 1024
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Slots:
    """The slots in a folder.

    Parameters
    ----------
    folder : Path
        Made when the first version is unpacked.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state = folder / "state"

    def path(self, slot: str) -> Path:
        """Return the folder of a slot."""
        return self.folder / slot

    def state(self) -> State:
        """Return the state; the one with the package in use where it cannot be read."""
        try:
            return self._read()
        except OSError as error:
            log.error("%s cannot be read (%s): using the package", self._state, error)  # noqa: TRY400
            return State()

    def next_start(self, boot: str, package: str, unusable: Callable[[str], str]) -> str:
        """Choose the version to start now, and note the start before it is made.

        Parameters and the choice are those of `State.started`. A state that cannot be written
        cannot count: then no version is tried, and the one in use is started.
        """
        if not self._state.exists():
            return PACKAGE
        chosen = PACKAGE

        def change(state: State) -> State:
            nonlocal chosen
            after, chosen = state.started(boot, package, unusable)
            return after

        try:
            self.change(change)
        except UpdateError as error:
            log.error("%s: nothing is tried", error)  # noqa: TRY400
            uncounted = self.state().without_trial("the state could not be written")
            _, chosen = uncounted.started(boot, package, unusable)
        return chosen

    @contextmanager
    def updating(self) -> Iterator[None]:
        """Keep other updates out until the version is kept or left.

        Another one would replace, compare and remove the same slot.

        Raises
        ------
        UpdateError
            `BUSY`, or `UNWRITABLE`.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.folder / "update.lock").open("wb")
        except OSError as error:
            raise self._unwritable(error) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UpdateError(UpdateFault.BUSY, "another update is under way") from error
            yield

    @contextmanager
    def filling(self) -> Iterator[tuple[str, Path]]:
        """Give the idle slot and a new path for its content, which takes its place at the end.

        The slot is no version to go back to from the beginning on. Only while `updating`.

        Raises
        ------
        UpdateError
            `BUSY`, or `UNWRITABLE`.
        """
        slot = self.state().idle()
        self.change(lambda state: state.without_version(slot))
        new = self.folder / f"{slot}.new"
        remove(new)
        remove(self.path(slot))
        try:
            yield slot, new
            os.sync()  # thousands of files: one call for all of them
            new.replace(self.path(slot))
            sync_folder(self.folder)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            remove(new)

    def change(self, change: Callable[[State], State]) -> bool:
        """Change the state; on return that survives a power cut. Return whether it is another.

        Raises
        ------
        UpdateError
            `UNWRITABLE`.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self.folder / "state.lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # others hold it for milliseconds
                before = self._read()
                after = change(before)
                if after != before:
                    self._write(after)
                return after != before
        except OSError as error:
            raise self._unwritable(error) from error

    def _read(self) -> State:
        """Return the state; `OSError` where that may work another time: nothing may replace it."""
        try:
            return msgspec.json.decode(read_regular(self._state, _MAX_BYTES), type=State)
        except FileNotFoundError:
            return State()
        except (OSError, msgspec.MsgspecError, RecursionError) as error:
            if isinstance(error, OSError) and error.errno in _PASSING:
                raise
            log.error("%s is damaged (%s): using the package", self._state, error)  # noqa: TRY400
            return State()

    def _write(self, state: State) -> None:
        try:
            replace_file(self._state, msgspec.json.encode(state), 0o600)
        except OSError as error:
            if self._read() != state:
                raise
            # An error would say that the version in use stays, and the next start tries the other.
            log.error("%s may not survive a power cut: %s", self._state, error)  # noqa: TRY400

    def _unwritable(self, error: OSError) -> UpdateError:
        return UpdateError(
            UpdateFault.UNWRITABLE,
            f"{self.folder} cannot be written ({error.strerror}): the agent in use stays",
        )


def remove(path: Path) -> None:
    """Remove a folder, as far as that is possible; of a link or a file, the name."""
    if path.is_dir() and not path.is_symlink():
        remove_folder(path)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)

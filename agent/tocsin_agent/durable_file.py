"""Writing a file so that its content survives a power cut."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file; on return its content survives a power cut.

    Parameters
    ----------
    path : Path
        Where.
    content : bytes
        What.
    mode : int
        The rights of a file that is new, less those that the umask takes.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file by a rename: whoever reads it finds the old or the new content, whole.

    Parameters and errors as in `write_file`; what an interrupted write left is removed before. One
    writer at a time.
    """
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    try:
        write_file(new, content, mode)
        new.replace(path)
    except OSError:  # a full disk: what is half written takes no room
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    sync_folder(path.absolute().parent)


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Keep out others who change the files of a folder by this function: threads and processes.

    Nothing is written: whoever can read the folder can wait for it, whoever owns its files.

    Raises
    ------
    OSError
        If the folder cannot be read.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_folder(path: Path) -> None:
    """Remove a folder and what is in it, as far as that is possible."""
    import shutil  # noqa: PLC0415 - loads three compression libraries, for a rare need

    shutil.rmtree(path, ignore_errors=True)

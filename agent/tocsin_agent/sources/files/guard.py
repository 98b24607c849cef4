"""Turns whatever the reader of a file format raises into one error that a user understands."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_dsp.errors import TocsinError
from tocsin_dsp.signal import FloatArray


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Raise `SourceError` for each error inside, and suppress warnings of the package that reads.

    A package that reads a damaged file fails in ways that it does not document: an index, a
    missing attribute, a number that is none, an array of 2 GB.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it should be: `an EDF file`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except TocsinError:
        raise
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise SourceError(
            SourceFault.NOT_FOUND if missing else SourceFault.LOST,
            f"{path} cannot be read: {error.strerror or error}",
        ) from error
    except MemoryError as error:
        raise SourceError(
            SourceFault.MALFORMED, f"{path} states a size that does not fit into memory"
        ) from error
    except Exception as error:  # the packages raise errors of many kinds
        what_failed = f"{type(error).__name__}: {error}".rstrip(": ")
        raise SourceError(
            SourceFault.MALFORMED, f"{path} cannot be read as {what} ({what_failed})"
        ) from error


def guarded(
    path: Path, what: str, chunks: Generator[tuple[int, FloatArray]]
) -> Generator[tuple[int, FloatArray]]:
    """Yield chunks, each read inside `reading`."""
    while True:
        with reading(path, what):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def existing(path: Path) -> Path:
    """Return a file's path; raises `SourceError` if there is none, or it is empty."""
    if not path.is_file():
        raise SourceError(SourceFault.NOT_FOUND, f"there is no file {path}")
    with reading(path, "a file"):
        if not path.stat().st_size:
            raise SourceError(SourceFault.MALFORMED, f"{path} is empty")
    return path


def file_id(path: Path) -> str:
    """Return a stream id of file name and content; the folder does not matter."""
    with reading(path, "a file"), path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{path.name}#{digest[:12]}"

"""Where a command writes its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click


@contextmanager
def writing_to(place: Path, option: str) -> Iterator[None]:
    """Turn what cannot be written into a usage error that names the option for another place."""
    try:
        yield
    except OSError as exc:
        raise click.UsageError(
            f"{exc.filename or place} cannot be written ({exc.strerror or exc}): "
            f"give another place by {option}"
        ) from exc


def write_new(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files into the folder that `-o` names; one that is there and differs stays.

    Nothing is written then: it may be the recording that was read, or another export.

    Parameters
    ----------
    folder : Path
        Made where it is not there.
    files : mapping
        Content by name.

    Raises
    ------
    click.UsageError
        If a file is there, or the folder cannot be written.
    """
    with writing_to(folder, "-o"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            there = folder / name
            if there.exists() and there.read_bytes() != content:
                raise click.UsageError(
                    f"{there} is there and is not replaced: give another folder by -o"
                )
        for name, content in files.items():
            (folder / name).write_bytes(content)
    return [folder / name for name in files]

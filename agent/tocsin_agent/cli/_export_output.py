"""The folder that `tocsin export` writes to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """Make a folder; what cannot be written there is a usage error."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as exc:
        raise click.UsageError(
            f"{exc.filename or folder} cannot be written ({exc.strerror}): "
            "give another folder by -o"
        ) from exc

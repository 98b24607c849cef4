"""Where a command writes its result."""

from __future__ import annotations

from collections.abc import Iterator
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

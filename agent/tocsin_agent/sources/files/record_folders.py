"""The folders in which PhysioNet records are looked for."""

from __future__ import annotations

import os
from pathlib import Path

RECORDS_VARIABLE = "TOCSIN_RECORDS"


def cache_directory() -> Path:
    """Return the folder that `tocsin fetch` fills: `$XDG_CACHE_HOME/tocsin/records`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tocsin" / "records"


def record_roots() -> tuple[Path, ...]:
    """Return the folders that hold databases, in the order in which they are searched.

    First the folders in `TOCSIN_RECORDS`, separated as in `PATH`, then the cache.
    """
    named = os.environ.get(RECORDS_VARIABLE, "")
    listed = [Path(part).expanduser() for part in named.split(os.pathsep) if part]
    return (*listed, cache_directory())

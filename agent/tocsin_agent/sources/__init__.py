"""Sources: where the samples come from, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence

from tocsin_agent.sources.base import EndOfStream, Recording, Source
from tocsin_agent.sources.excerpt import ExcerptSource
from tocsin_agent.sources.wfdb_record import WfdbSource

__all__ = ["EndOfStream", "Recording", "Source", "open_source"]


def open_source(
    uri: str,
    *,
    block_s: float = 0.25,
    speed: float | None = None,  # noqa: ARG001 - pacing follows
    leads: Sequence[str] | None = None,
) -> Source:
    """Return the source that a name stands for, not yet opened.

    Parameters
    ----------
    uri : str
        `excerpt`, `database/record` or the path of a WFDB record.
    block_s : float
        Seconds of signal in a block.
    speed : float, optional
        1 for real time, 10 for ten times that; None as fast as it can be read.
    leads : sequence of str, optional
        The leads to take, by name.
    """
    if uri == "excerpt":
        return ExcerptSource(block_s=block_s)
    return WfdbSource(uri, leads=leads, block_s=block_s)

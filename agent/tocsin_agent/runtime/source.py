"""The source that a configuration describes; loads no broker, database or model."""

from __future__ import annotations

from tocsin_agent.retry import Backoff
from tocsin_agent.sources.base import Source
from tocsin_agent.sources.files.table_options import TableOptions
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.pacing import PacedSource
from tocsin_agent.sources.queued import QueuedSource
from tocsin_agent.sources.settings import SourceSettings


def build_source(settings: SourceSettings) -> Source:
    """Return the source that a configuration describes, not yet opened.

    A recording is paced unless its speed is `max`; a live source is read through a queue.

    Raises
    ------
    SourceError
        If the URI is not understood, or names a recording that does not exist.
    """
    table = TableOptions(
        rate_hz=settings.rate_hz,
        unit=settings.unit,
        gain=settings.gain,
        baseline=settings.baseline,
    )
    source = open_source(
        settings.uri, block_s=settings.block_s, leads=settings.leads or None, table=table
    )
    if not source.finite:
        backoff = Backoff(settings.retry_first_s, settings.retry_max_s)
        return QueuedSource(source, settings.queue_s, backoff=backoff)
    return source if settings.speed == "max" else PacedSource(source, settings.speed)

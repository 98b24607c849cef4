"""Sources: where the samples come from, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import EndOfStream, Recording, Source
from tocsin_agent.sources.files.excerpt import ExcerptSource
from tocsin_agent.sources.files.table import ArraySource, CsvSource, TableOptions
from tocsin_agent.sources.files.wfdb_record import WfdbSource, find_record
from tocsin_agent.sources.pacing import PacedSource
from tocsin_agent.sources.queued import QueuedSource, Reconnection, SourceHealth, SourceState
from tocsin_agent.sources.scripted.script import SCENARIOS, load_script, scenario
from tocsin_agent.sources.scripted.synthetic import SyntheticSource

__all__ = [
    "EndOfStream",
    "PacedSource",
    "QueuedSource",
    "Reconnection",
    "Recording",
    "Source",
    "SourceHealth",
    "SourceState",
    "TableOptions",
    "find_record",
    "open_source",
]

UNDERSTOOD = f"""a source is one of
  excerpt                       five minutes of MIT-BIH 208 (extra `demo`)
  synthetic, synthetic:NAME     a scripted patient: {", ".join(SCENARIOS)}
  FILE.toml                     a scripted patient of your own
  FILE.csv, FILE.npy, FILE.npz  your own samples
  mitdb/208, PATH/TO/RECORD     a WFDB record (extra `replay`)
  serial:PATH?baud=921600       a device on a serial port (extra `serial`)
  tcp://HOST:PORT               a device that connects to this port; tls:// with ?cert=&key=&ca=
  udp://HOST:PORT               a device that sends datagrams to this port
  mqtt://HOST/TOPIC             a device that publishes to this topic; mqtts:// for TLS
  h10:ADDRESS                   a Polar H10 chest strap by Bluetooth LE (extra `ble`)
  lsl:NAME, lsl:NAME?unit=uV    a stream of the Lab Streaming Layer (extra `lsl`)
  FILE.link                     what a device sent, as `tocsin link check` keeps it"""


def open_source(
    uri: str,
    *,
    block_s: float = 0.25,
    speed: float | None = None,
    leads: Sequence[str] | None = None,
    table: TableOptions | None = None,
) -> Source:
    """Return the source that a name stands for; `open()` it, or use it in a `with` statement.

    Parameters
    ----------
    uri : str
        See `UNDERSTOOD`.
    block_s : float
        Seconds of signal in a block.
    speed : float, optional
        1 for real time, 10 for ten times that; None as fast as it can be read.
    leads : sequence of str, optional
        The leads to take, by name and in this order; a synthetic patient has any standard lead.
    table : TableOptions, optional
        Rate and unit of a table; its `leads` give way to the ones above.

    Raises
    ------
    SourceError
        `NOT_FOUND` or `MALFORMED` for a name that is not understood or not there. What is wrong
        inside a file may show only at `open`.
    """
    source = _resolve(uri, block_s, tuple(leads) if leads else None, table or TableOptions())
    return source if speed is None or not source.finite else PacedSource(source, speed)


def _resolve(
    uri: str, block_s: float, leads: tuple[str, ...] | None, table: TableOptions
) -> Source:
    if uri == "excerpt":
        if leads not in {None, ("MLII",)}:
            raise SourceError(SourceFault.NOT_FOUND, "the excerpt has one lead, MLII")
        return ExcerptSource(block_s=block_s)
    from tocsin_agent.sources.devices.opening import is_link, open_link  # noqa: PLC0415 - it is built on this

    if is_link(uri):
        return open_link(uri, leads=leads, block_s=block_s)
    kind, _, name = uri.partition(":")
    path = Path(uri).expanduser()
    if kind == "synthetic" or path.suffix == ".toml":
        script = scenario(name or "demo") if kind == "synthetic" else load_script(path)
        if leads:
            script = msgspec.structs.replace(script, leads=leads)
        return SyntheticSource(script, block_s=block_s)
    if path.suffix in {".csv", ".npy", ".npz"}:
        if not path.is_file():
            raise SourceError(SourceFault.NOT_FOUND, f"there is no file {path}")
        options = TableOptions(
            table.rate_hz, leads or table.leads, table.unit, table.gain, table.baseline
        )
        reader = CsvSource if path.suffix == ".csv" else ArraySource
        return reader(path, options, block_s=block_s)
    try:
        find_record(uri)
    except SourceError as error:
        if error.fetchable:
            raise
        raise SourceError(error.reason, f"{error}\n{UNDERSTOOD}") from error
    return WfdbSource(uri, leads=leads, block_s=block_s)

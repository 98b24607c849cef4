"""Every kind of source: one table from the name of a source to the code that opens it.

The reference page of the configuration, the help of the commands and the error for an unknown name
are printed from `KINDS`. This module is light: an opener imports what it opens when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.devices import opening as devices
from tocsin_agent.sources.files.formats import Unread, is_text, recognize, unread_by_suffix
from tocsin_agent.sources.scripted.script import SCENARIOS, load_script, scenario

if TYPE_CHECKING:
    from tocsin_agent.sources.base import Source
    from tocsin_agent.sources.devices.wires.base import Wire
    from tocsin_agent.sources.files.table_options import TableOptions


class Reading(NamedTuple):
    """How a source is to be read, as in `open_source`."""

    leads: tuple[str, ...] | None
    block_s: float
    table: TableOptions | None


Opener: TypeAlias = Callable[[str, Reading], "Source"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of source.

    Parameters
    ----------
    names : tuple of str
        Its schemes (`serial`), or the suffixes of its files (`.csv`); empty for WFDB records, which
        are recognized by neither.
    forms : tuple of str
        What a user writes.
    help : str
        What it is, in a few words.
    open : callable
        Returns the source for a name.
    extra : str, optional
        The extra of tocsin that it needs.
    wire : callable, optional
        For a device that speaks the link protocol: returns its wire for a name.
    speaks_link_protocol : bool
        True where `tocsin link check` can read it.
    has_ecg : bool
        False where it sends intervals between beats only: no alarm but those of the rate.
    """

    names: tuple[str, ...]
    forms: tuple[str, ...]
    help: str
    open: Opener
    extra: str | None = None
    wire: Callable[[str], Wire] | None = None
    speaks_link_protocol: bool = False
    has_ecg: bool = True


def _record(uri: str, reading: Reading) -> Source:
    from tocsin_agent.sources.files.wfdb_record import WfdbSource, find_record

    name = _record_name(uri)
    try:
        find_record(name)
    except SourceError as error:
        if error.fetchable:
            raise
        raise SourceError(error.reason, f"{error}\n{describe_kinds()}") from error
    return WfdbSource(name, leads=reading.leads, block_s=reading.block_s)


def _record_name(uri: str) -> str:
    """Return the record of a signal file that was given in its place: `100.dat` is `100`."""
    path = Path(uri).expanduser()
    beside = path.with_suffix(".hea") if path.suffix in {".dat", ".mat", ".xyz"} else path
    return str(beside) if path.is_file() and beside.is_file() else uri


def _table(uri: str, reading: Reading) -> Source:
    from tocsin_agent.sources.files.array import ArraySource
    from tocsin_agent.sources.files.table import CsvSource

    path = _file(uri)
    array = kind_suffix(uri) in {".npy", ".npz"}
    reader = ArraySource if array else CsvSource
    return reader(path, _table_options(reading), block_s=reading.block_s)


def _table_options(reading: Reading) -> TableOptions:
    from tocsin_agent.sources.files.table_options import TableOptions

    given = reading.table or TableOptions()
    return TableOptions(
        given.rate_hz, reading.leads or given.leads, given.unit, given.gain, given.baseline
    )


def _edf(uri: str, reading: Reading) -> Source:
    from tocsin_agent.sources.files.edf import EdfSource

    return EdfSource(_file(uri), leads=reading.leads, block_s=reading.block_s)


def _dicom(uri: str, reading: Reading) -> Source:
    from tocsin_agent.sources.files.dicom import DicomSource

    return DicomSource(_file(uri), leads=reading.leads, block_s=reading.block_s)


def _aecg(uri: str, reading: Reading) -> Source:
    from tocsin_agent.sources.files.aecg import AecgSource

    return AecgSource(_file(uri), leads=reading.leads, block_s=reading.block_s)


def _mat(uri: str, reading: Reading) -> Source:
    if _record_name(uri) != uri:  # the signal file of a WFDB record, as PhysioNet's challenges have
        return _record(uri, reading)
    from tocsin_agent.sources.files.mat import MatSource

    return MatSource(_file(uri), _table_options(reading), block_s=reading.block_s)


def _parquet(uri: str, reading: Reading) -> Source:
    from tocsin_agent.sources.files.parquet import ParquetSource

    return ParquetSource(_file(uri), _table_options(reading), block_s=reading.block_s)


def _file(uri: str) -> Path:
    from tocsin_agent.sources.files.guard import existing

    return existing(Path(uri).expanduser())


def _unread(uri: str, reading: Reading) -> Source:  # noqa: ARG001 - an opener
    path = Path(uri).expanduser()
    found = recognize(path) if path.is_file() else None
    known = found if isinstance(found, Unread) else unread_by_suffix(path)
    if not path.is_file():
        raise SourceError(SourceFault.NOT_FOUND, f"there is no file {path}")
    if known is None:
        raise SourceError(
            SourceFault.MALFORMED,
            f"{path} has no format that is known here\n{describe_kinds()}",
        )
    raise SourceError(
        SourceFault.MALFORMED,
        f"{path} is {known.what}, which tocsin does not read: {known.advice}",
    )


def _excerpt(uri: str, reading: Reading) -> Source:
    from tocsin_agent.sources.files.excerpt import ExcerptSource

    if uri != "excerpt":
        raise SourceError(SourceFault.NOT_FOUND, f"there is no source {uri!r}: write `excerpt`")
    if reading.leads not in {None, ("MLII",)}:
        raise SourceError(SourceFault.NOT_FOUND, "the excerpt has one lead, MLII")
    return ExcerptSource(block_s=reading.block_s)


def _synthetic(uri: str, reading: Reading) -> Source:
    from tocsin_agent.sources.scripted.synthetic import SyntheticSource

    scheme, _, name = uri.partition(":")
    script = (
        scenario(name or "demo") if scheme == "synthetic" else load_script(Path(uri).expanduser())
    )
    if reading.leads:
        script = msgspec.structs.replace(script, leads=reading.leads)
    return SyntheticSource(script, block_s=reading.block_s)


def _capture(uri: str, reading: Reading) -> Source:
    return devices.open_capture(Path(uri).expanduser(), reading.leads, reading.block_s)


def _polar(uri: str, reading: Reading) -> Source:
    return devices.open_polar(uri, reading.leads, reading.block_s)


def _heart_rate(uri: str, reading: Reading) -> Source:
    return devices.open_heart_rate(uri, reading.leads, reading.block_s)


def _lsl(uri: str, reading: Reading) -> Source:
    return devices.open_lsl(uri, reading.leads, reading.block_s)


def _link(
    *names: str,
    form: str,
    help: str,  # noqa: A002 - as `Kind` calls it
    wire: Callable[[str], Wire],
    extra: str = "link",
) -> Kind:
    """Return the row of a device that speaks the link protocol."""

    def open_device(uri: str, reading: Reading) -> Source:
        return devices.open_link(wire(uri), reading.leads, reading.block_s)

    return Kind(names, (form,), help, open_device, extra, wire=wire, speaks_link_protocol=True)


KINDS: tuple[Kind, ...] = (
    Kind((), ("mitdb/208", "PATH/TO/RECORD"), "a WFDB record", _record, "replay"),
    Kind(
        (".csv", ".tsv", ".txt", ".npy", ".npz"),
        ("FILE.csv", "FILE.txt", "FILE.npy", "FILE.npz"),
        "a table",
        _table,
    ),
    Kind((".parquet",), ("FILE.parquet",), "a Parquet table", _parquet, "parquet"),
    Kind((".edf",), ("FILE.edf",), "an EDF or EDF+ recording", _edf, "edf"),
    Kind((".dcm",), ("FILE.dcm",), "a DICOM ECG", _dicom, "dicom"),
    Kind((".xml",), ("FILE.xml",), "an HL7 aECG", _aecg),
    Kind((".mat",), ("FILE.mat",), "a MATLAB file", _mat, "replay"),
    Kind(("excerpt",), ("excerpt",), "five minutes of MIT-BIH 208", _excerpt, "demo"),
    Kind(
        ("synthetic",),
        ("synthetic", "synthetic:NAME"),
        f"a scripted patient ({', '.join(SCENARIOS)})",
        _synthetic,
    ),
    Kind((".toml",), ("FILE.toml",), "a scripted patient of your own", _synthetic),
    _link(
        "serial",
        form="serial:PATH?baud=921600",
        help="a device at a serial port",
        wire=devices.serial_wire,
        extra="serial",
    ),
    _link(
        "tcp",
        form="tcp://HOST:PORT",
        help="a device that connects to this port",
        wire=devices.network_wire,
    ),
    _link(
        "tls",
        form="tls://HOST:PORT?cert=FILE&key=FILE&ca=FILE",
        help="the same over TLS (with `ca`, the device must show a certificate)",
        wire=devices.network_wire,
    ),
    _link(
        "udp",
        form="udp://HOST:PORT",
        help="a device that sends datagrams to this port",
        wire=devices.network_wire,
    ),
    _link(
        "mqtt",
        form="mqtt://USER@HOST/TOPIC",
        help="a device that publishes to this topic (also `$share/GROUP/TOPIC`)",
        wire=devices.mqtt_wire,
    ),
    _link(
        "mqtts",
        form="mqtts://USER@HOST/TOPIC?ca=FILE",
        help="the same over TLS (options `ca`, `cert`, `key`)",
        wire=devices.mqtt_wire,
    ),
    Kind(
        (".link",),
        ("FILE.link",),
        "a capture of a device, made by `tocsin link check --capture`",
        _capture,
        "link",
        speaks_link_protocol=True,
    ),
    Kind(
        ("h10",),
        ("h10:ADDRESS", "h10:NAME"),
        "a Polar H10 chest strap over Bluetooth LE",
        _polar,
        "ble",
    ),
    Kind(
        ("hr",),
        ("hr:ADDRESS", "hr:NAME"),
        "a heart-rate strap over Bluetooth LE: no ECG, alarms of the rate only",
        _heart_rate,
        "ble",
        has_ecg=False,
    ),
    Kind(
        ("lsl",),
        ("lsl:NAME", "lsl:NAME?unit=uV"),
        "a stream of the Lab Streaming Layer",
        _lsl,
        "lsl",
    ),
)


# Known and not read: the error names the way to convert them. It is not listed as a kind.
_UNREAD = Kind((), (), "a format that is not read", _unread)


def kind_of(uri: str) -> Kind:
    """Return the kind of a name: by its scheme, else by the file's content or suffix, else WFDB."""
    scheme = uri.partition(":")[0]
    suffix = kind_suffix(uri)
    for name in (scheme, suffix):
        for kind in KINDS:
            if name in kind.names:
                return kind
    return _UNREAD if suffix == _NOT_READ else KINDS[0]


_NOT_READ = "?"


def kind_suffix(uri: str) -> str:
    """Return the suffix that stands for a file's format, `?` for one that is not read.

    What a file begins with takes precedence over its suffix.
    """
    path = Path(uri).expanduser()
    suffix = path.suffix.lower()
    if path.is_file() and suffix not in {".hea", ".toml", ".link"}:
        found = recognize(path)
        if found is not None:
            return found if isinstance(found, str) else _NOT_READ
    if any(suffix in kind.names for kind in KINDS):
        return suffix
    if unread_by_suffix(path) is not None:
        return _NOT_READ
    if not path.is_file() or suffix == ".hea" or _record_name(uri) != uri:
        return suffix
    return ".csv" if is_text(path) else _NOT_READ


def describe_kinds(kinds: Sequence[Kind] = KINDS) -> str:
    """Return the table of kinds as text, one line each."""
    forms = [", ".join(kind.forms) for kind in kinds]
    width = max(len(form) for form in forms)
    lines = [
        f"  {form:<{width}}  {kind.help}" + (f" (extra `{kind.extra}`)" if kind.extra else "")
        for form, kind in zip(forms, kinds, strict=True)
    ]
    return "\n".join(["a source is one of", *lines])


def open_source(
    uri: str,
    *,
    block_s: float = 0.25,
    speed: float | None = None,
    leads: Sequence[str] | None = None,
    table: TableOptions | None = None,
) -> Source:
    """Return the source for a name; call its `open()`, or use it in a `with` statement.

    Parameters
    ----------
    uri : str
        One of the forms in `KINDS`.
    block_s : float
        Seconds of signal in a block.
    speed : float, optional
        1 for real time, 10 for ten times that; None for no pacing.
    leads : sequence of str, optional
        The leads to take, by name and in this order; a synthetic patient has any standard lead.
    table : TableOptions, optional
        Rate and unit of a table; `leads` above takes precedence over its own.

    Raises
    ------
    SourceError
        `NOT_FOUND` or `MALFORMED` for a name that is not understood or does not exist. A fault
        inside a file may show only at `open`.
    MissingExtraError
        If the extra that this kind needs is not installed; some kinds raise it only at `open`.
    """
    reading = Reading(tuple(leads) if leads else None, block_s, table)
    source = kind_of(uri).open(uri, reading)
    if speed is None or not source.finite:
        return source
    from tocsin_agent.sources.pacing import PacedSource

    return PacedSource(source, speed)

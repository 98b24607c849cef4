"""A PhysioNet (WFDB) record as a source; needs the extra `replay`."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.extras import import_extra
from tocsin_agent.sources.base import Recording
from tocsin_agent.sources.files.record_folders import record_roots
from tocsin_dsp.signal import MAX_LEADS, FloatArray, StreamSpec

Header: TypeAlias = Any  # wfdb.Record or wfdb.MultiRecord, which carry no types

_CHUNK_S = 300.0  # wfdb parses the header again for each chunk; a longer one needs more memory

_MV_PER_UNIT = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}
# Voltages other than the ECG, as in polysomnography and in records of patient monitors.
_NOT_ECG = re.compile(
    r"EEG|EOG|EMG|RESP|PLETH|SPO2|ABP|ART|PAP|CVP|ICP|BP$|NASAL|CHEST|ABDO|THOR", re.IGNORECASE
)
# Bytes of a sample, by format (header(5)); compressed formats are not listed.
_BYTES = {
    "8": 1.0,
    "16": 2.0,
    "24": 3.0,
    "32": 4.0,
    "61": 2.0,
    "80": 1.0,
    "160": 2.0,
    "212": 1.5,
    "310": 4 / 3,
    "311": 4 / 3,
}
# The code of a missing sample, by format.
_MISSING = {"16": -32768, "61": -32768, "212": -2048, "310": -512, "311": -512}


class WfdbSource(Recording):
    """A WFDB record, read in chunks, so that memory does not depend on its length.

    Parameters
    ----------
    name : str
        `database/record`, searched in the folders of `record_roots`, or the path of a record with
        or without `.hea`.
    leads : sequence of str, optional
        Signal names, in the wanted order. By default the ECG leads: signals in volts whose name is
        not that of another biosignal.
    block_s : float
        Seconds of signal in a block.

    Notes
    -----
    The stream id is `database/record` if the record lies in one of the known folders, however it
    was named; elsewhere it is the name with a hash of header and signal files, so that two records
    of one name differ. Header times have no zone and are taken as UTC. A signal file that is
    shorter than its header states is read to its end, then `SourceFault.TRUNCATED` is raised.
    """

    def __init__(
        self, name: str, *, leads: Sequence[str] | None = None, block_s: float = 0.25
    ) -> None:
        super().__init__(block_s=block_s)
        self.name = name
        self._wanted = tuple(leads) if leads else None

    def _start(self) -> Generator[tuple[int, FloatArray]]:
        wfdb = import_wfdb()
        path, known_as = find_record(self.name)
        header = _read_header(wfdb, path)
        signals = _distinct(_signals(header, path))
        chosen = _choose(signals, self._wanted, path)
        length, shortfall = _available(header, path)
        frame = _common_frame(chosen)
        self.spec = StreamSpec(
            stream_id=known_as or f"{path.name}#{_content_hash(header, path)}",
            rate_hz=float(header.fs) * frame,
            leads=tuple(signal.name for signal in chosen),
            range_mv=_range_mv(chosen),
            calibrated=all(signal.calibrated for signal in chosen),
        )
        self.start_utc = _start_utc(header)
        return _chunks(
            wfdb,
            path,
            chosen,
            frame=frame,
            frame_rate_hz=float(header.fs),
            length=length,
            stated=header.sig_len is not None,
            shortfall=shortfall,
        )


@dataclass(frozen=True, slots=True)
class _Signal:
    """The fields of one signal line of the header that are used here."""

    channel: int
    name: str
    mv_per_unit: float | None  # None: not a voltage
    calibrated: bool
    samples_per_frame: int
    range_mv: tuple[float, float] | None


def find_record(name: str) -> tuple[Path, str | None]:
    """Find a record's header.

    Parameters
    ----------
    name : str
        A path or `database/record`.

    Returns
    -------
    path : Path
        Of the record, without `.hea`.
    known_as : str or None
        `database/record` if it lies in one of the folders of `record_roots`.

    Raises
    ------
    SourceError
        `NOT_FOUND`, with every path that was tried; `fetchable` if the name can be that of a
        PhysioNet record.
    """
    plain = name.removesuffix(".hea")
    roots = record_roots()
    tried = [Path(plain).expanduser()]
    if not tried[0].is_absolute():
        tried = [*(root / plain for root in roots), *tried]
    for path in tried:
        if _header_of(path).is_file():
            return path, _known_as(path, roots)
    places = "\n".join(f"  {_header_of(path)}" for path in tried)
    fetchable = re.fullmatch(r"[a-z0-9][a-z0-9-]*(/[\w-]+)+", plain) is not None
    hint = f"\nto get it from PhysioNet: tocsin fetch {plain}" if fetchable else ""
    raise SourceError(
        SourceFault.NOT_FOUND,
        f"no record {name!r}: none of these headers exists\n{places}{hint}",
        fetchable=fetchable,
    )


def _header_of(path: Path) -> Path:
    return path.parent / f"{path.name}.hea"


def _known_as(path: Path, roots: Sequence[Path]) -> str | None:
    resolved = path.resolve()
    for root in roots:
        if resolved.is_relative_to(root.resolve()):
            relative = resolved.relative_to(root.resolve())
            if len(relative.parts) > 1:
                return relative.as_posix()
    return None


def import_wfdb() -> ModuleType:
    """Import wfdb, 200 MB that the core does without; raises `MissingExtraError`."""
    return import_extra("wfdb", "replay", "a WFDB record")


def _read_header(wfdb: ModuleType, path: Path) -> Header:
    header_path = _header_of(path)
    try:
        header = wfdb.rdheader(str(path), rd_segments=True)
    except FileNotFoundError as error:
        raise SourceError(
            SourceFault.NOT_FOUND, f"{header_path} names a segment that does not exist: {error}"
        ) from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError) as error:
        raise SourceError(
            SourceFault.MALFORMED, f"{header_path} is not a WFDB header ({error})"
        ) from error
    if not header.n_sig:
        raise SourceError(SourceFault.MALFORMED, f"{header_path} describes no signal")
    if not hasattr(header, "segments") and len(header.file_name or ()) != header.n_sig:
        raise SourceError(
            SourceFault.MALFORMED,
            f"{header_path} states {header.n_sig} signals, but describes "
            f"{len(header.file_name or ())}",
        )
    _check_rate(header, header_path)
    return header


def _check_rate(header: Header, header_path: Path) -> None:
    """Refuse a rate that is not a number: wfdb silently replaces it by 250 Hz."""
    fields = _header_lines(header_path)[0].split()
    if len(fields) < 3:
        return  # the format's own default, 250 Hz
    try:
        stated_hz = float(re.split(r"[/(]", fields[2])[0])
    except ValueError:
        stated_hz = math.nan
    if stated_hz != float(header.fs):
        raise SourceError(
            SourceFault.MALFORMED,
            f"{header_path} states a sampling rate of {fields[2]!r}; a plain number such as 360 "
            "expected",
        )


def _header_lines(header_path: Path) -> list[str]:
    text = header_path.read_text(encoding="utf-8", errors="replace")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _segments(header: Header) -> list[tuple[int, Header]]:
    """Return first sample and plain header of the record itself, or of each of its segments."""
    if not hasattr(header, "segments"):
        return [(0, header)]
    firsts = [sum(header.seg_len[:i]) for i in range(len(header.seg_len))]
    return [
        (first, part)
        for first, part in zip(firsts, header.segments, strict=True)
        if part is not None and part.file_name
    ]


def _signals(header: Header, path: Path) -> list[_Signal]:
    if not hasattr(header, "segments"):
        gains = _calibrated(_header_of(path), header.n_sig)
        return [_signal(header, channel, gains[channel]) for channel in range(header.n_sig)]
    # Each segment of a multi-segment record has its own gain; only name and unit are common.
    found: dict[str, _Signal] = {}
    for _, part in _segments(header):
        gains = _calibrated(_header_of(path.parent / part.record_name), part.n_sig)
        for channel in range(part.n_sig):
            signal = _signal(part, channel, gains[channel])
            found.setdefault(signal.name, signal)
    names = header.get_sig_name()
    return [
        _Signal(
            channel,
            name,
            found[name].mv_per_unit if name in found else None,
            found[name].calibrated if name in found else False,
            1,
            None,
        )
        for channel, name in enumerate(names)
    ]


def _signal(header: Header, channel: int, calibrated: bool) -> _Signal:
    unit = (header.units[channel] or "mV").lower()
    mv_per_unit = _MV_PER_UNIT.get(unit)
    limits = None
    resolution, zero = header.adc_res[channel], header.adc_zero[channel]
    gain, baseline = header.adc_gain[channel], header.baseline[channel]
    if mv_per_unit is not None and resolution and zero is not None and gain and calibrated:
        half = 1 << (resolution - 1)
        lowest = max(zero - half, _MISSING.get(header.fmt[channel], zero - half - 1) + 1)
        codes = np.array([lowest, zero + half - 1], dtype=np.float64)
        low, high = sorted(((codes - baseline) / gain * mv_per_unit).tolist())
        if low < 0.0 < high:  # a range without 0 mV contradicts the baseline: use neither
            limits = (low, high)
    return _Signal(
        channel,
        header.sig_name[channel] or f"ECG{channel + 1}",
        mv_per_unit,
        calibrated,
        header.samps_per_frame[channel] or 1,
        limits,
    )


def _calibrated(header_path: Path, n_sig: int) -> list[bool]:
    """Tell for each signal whether its gain is stated: wfdb silently replaces 0 by 200."""
    stated = []
    for line in _header_lines(header_path)[1 : 1 + n_sig]:
        fields = line.split()
        gain = re.match(r"[-+0-9.eE]+", fields[2]) if len(fields) > 2 else None
        stated.append(gain is not None and float(gain.group()) != 0.0)
    return stated + [False] * (n_sig - len(stated))


def _choose(signals: list[_Signal], wanted: tuple[str, ...] | None, path: Path) -> list[_Signal]:
    names = [signal.name for signal in signals]
    there = ", ".join(names)
    if wanted is None:
        chosen = [s for s in signals if s.mv_per_unit is not None and not _NOT_ECG.search(s.name)]
        if not chosen:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{path} has no ECG lead; its signals are {there}. Choose with the leads option",
            )
        return chosen[:MAX_LEADS]
    chosen = []
    for name in wanted:
        if name not in names:
            raise SourceError(
                SourceFault.NOT_FOUND, f"{path} has no signal {name!r}; its signals are {there}"
            )
        signal = signals[names.index(name)]
        if signal.mv_per_unit is None:
            raise SourceError(
                SourceFault.MALFORMED, f"signal {name!r} of {path} is not stored in volts"
            )
        chosen.append(signal)
    return chosen


def _distinct(signals: list[_Signal]) -> list[_Signal]:
    """Rename repeated names: `ECG, ECG` becomes `ECG, ECG-2`."""
    out: list[_Signal] = []
    taken: set[str] = set()
    for signal in signals:
        number, name = 2, signal.name
        while name in taken:
            name = f"{signal.name}-{number}"
            number += 1
        taken.add(name)
        out.append(replace(signal, name=name))
    return out


def _range_mv(chosen: list[_Signal]) -> tuple[float, float] | None:
    """Return the range that all chosen leads share; None if they differ."""
    limits = {signal.range_mv for signal in chosen}
    return limits.pop() if len(limits) == 1 else None


def _common_frame(chosen: list[_Signal]) -> int:
    """Return the samples a frame that all leads share, else 1: wfdb then averages each frame."""
    frames = {signal.samples_per_frame for signal in chosen}
    return frames.pop() if len(frames) == 1 else 1


def _available(header: Header, path: Path) -> tuple[int, str | None]:
    """Return how many frames can be read without a gap, and what is missing in words."""
    length, shortfall = header.sig_len, None
    for first, part in _segments(header):
        for file_name in dict.fromkeys(part.file_name):
            size = _size(path, file_name)
            channels = [i for i, name in enumerate(part.file_name) if name == file_name]
            per_sample = _BYTES.get(str(part.fmt[channels[0]]))
            if per_sample is None:
                continue
            per_frame = per_sample * sum(part.samps_per_frame[i] or 1 for i in channels)
            frames = int((size - (part.byte_offset[channels[0]] or 0)) / per_frame + 1e-9)
            frames = max(frames, 0)
            if part.sig_len is None:  # the header leaves the length to the file
                length = frames if length is None else min(length, frames)
            elif frames < part.sig_len and first + frames < length:
                length = first + frames
                shortfall = (
                    f"{path.parent / file_name} is truncated: {frames} of {part.sig_len} "
                    "samples a lead exist"
                )
    if not length:
        raise SourceError(SourceFault.TRUNCATED, shortfall or f"{path} has no samples")
    return int(length), shortfall


def _size(path: Path, file_name: str) -> int:
    signal_path = path.parent / file_name
    try:
        return signal_path.stat().st_size
    except FileNotFoundError as error:
        known_as = _known_as(path, record_roots())
        advice = f"get it with: tocsin fetch {known_as}" if known_as else "get the record again"
        raise SourceError(
            SourceFault.NOT_FOUND,
            f"{_header_of(path)} names the signal file {file_name}, but {signal_path} does not "
            f"exist; {advice}",
        ) from error


def _content_hash(header: Header, path: Path) -> str:
    files = [_header_of(path).name]
    for _, part in _segments(header):
        files += [f"{part.record_name}.hea", *part.file_name]
    digest = hashlib.sha256()
    for name in dict.fromkeys(files):
        with (path.parent / name).open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:12]


def _start_utc(header: Header) -> datetime | None:
    if header.base_date is None or header.base_time is None:
        return None
    return datetime.combine(header.base_date, header.base_time, tzinfo=UTC)


def _chunks(
    wfdb: ModuleType,
    path: Path,
    chosen: list[_Signal],
    *,
    frame: int,
    frame_rate_hz: float,
    length: int,
    stated: bool,
    shortfall: str | None,
) -> Generator[tuple[int, FloatArray]]:
    channels = [signal.channel for signal in chosen]
    scale = np.array([signal.mv_per_unit for signal in chosen], dtype=np.float64)
    # wfdb can read a part only if the header states the length of the record
    step = max(1, round(_CHUNK_S * frame_rate_hz)) if stated else length
    for first in range(0, length, step):
        last = min(first + step, length)
        try:
            record = wfdb.rdrecord(
                str(path),
                sampfrom=first,
                sampto=last if stated else None,
                channels=channels,
                smooth_frames=frame == 1,
            )
        except (ValueError, IndexError, OSError) as error:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{path}: samples {first} to {last} cannot be read ({error})",
            ) from error
        samples = record.p_signal if frame == 1 else np.column_stack(record.e_p_signal)
        yield first * frame, np.asarray(samples, dtype=np.float64) * scale
    if shortfall is not None:
        raise SourceError(SourceFault.TRUNCATED, f"{shortfall}; get the record again")

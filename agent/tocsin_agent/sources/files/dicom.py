"""A DICOM ECG (12-lead, general or ambulatory) as a source; needs the extra `dicom`."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Generator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.extras import import_extra
from tocsin_agent.sources.files.guard import existing, guarded, reading
from tocsin_agent.sources.files.selection import FileSignal, SignalFile, distinct
from tocsin_agent.sources.files.signal_names import MV_PER_COUNT, mv_per_unit
from tocsin_dsp.signal import FloatArray

_CHUNK_BYTES = 1 << 20  # of stored samples in memory
_MAX_HEADER_BYTES = 16 << 20  # of one element that is no waveform
_WHAT = "a DICOM ECG"

_WAVEFORM_SEQUENCE = 0x54000100
_WAVEFORM_DATA = 0x54001010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF

_SAMPLES = {"SB": "i1", "UB": "u1", "SS": "<i2", "US": "<u2", "SL": "<i4", "UL": "<u4"}
_LEAD_WORDS = ("lead ", "ecg lead ", "derivation ")


class DicomSource(SignalFile):
    """The waveform groups of a DICOM file: 12-lead, general, ambulatory ECG and the like.

    pydicom reads the header and each group up to its samples; the samples are read in pieces, so
    that memory does not depend on the length. Of several groups (a rhythm and an average beat), the
    longest with an ECG is used, and groups of the same rate, leads and length that follow one
    another in time are one stream, with gaps where their time offsets state them.

    Parameters
    ----------
    path : Path
        The file.
    leads : sequence of str, optional
        Names of the channels, in the wanted order: the code meaning or label, without the word
        `Lead`.
    block_s : float
        Seconds of signal in a block.

    Notes
    -----
    The start is the acquisition date and time, in UTC where no offset is stated. Millivolts are
    (stored + baseline / sensitivity) times sensitivity times its correction factor.
    """

    def _start(self) -> Generator[tuple[int, FloatArray]]:
        import_extra("pydicom", "dicom", _WHAT)
        with reading(existing(self.path), _WHAT):
            header, groups = _read(self.path)
            kind = str(header.get("Modality", "") or "no modality")
            self.start_utc = _start_utc(header)
        if not groups:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self.path} is a DICOM file without a waveform ({kind}): an image of an ECG has "
                "no samples",
            )
        used = _longest(groups)
        columns = self._choose(used[0].signals, _other_groups(groups, used))
        first, last = used[0], used[-1]
        self.seconds = last.offset_s - first.offset_s + last.rows / self.spec.rate_hz
        return guarded(self.path, _WHAT, _chunks(self.path, used, columns))


class _Scale(NamedTuple):
    """Stored value to millivolts of one channel: (stored + shift) times factor."""

    shift: float
    factor: float


class _Group(NamedTuple):
    """One multiplex group: its channels, and where its samples are."""

    signals: list[FileSignal]
    scales: list[_Scale]
    rows: int  # samples a channel that the file holds
    stated_rows: int
    offset_s: float
    derived: bool  # an average beat, or what was computed otherwise
    dtype: np.dtype[Any]
    padding: int | None
    position: int


def _read(path: Path) -> tuple[Any, list[_Group]]:
    """Return the header and the waveform groups, without their samples."""
    from pydicom.filereader import read_partial  # noqa: PLC0415 - of an extra

    with path.open("rb") as file:
        stream = _BoundedFile(path, file)
        header = read_partial(
            cast("BinaryIO", stream),
            lambda tag, _vr, length: _stops(tag, length, tag == _WAVEFORM_SEQUENCE),
            force=True,
        )
        syntax = header.file_meta.get("TransferSyntaxUID")
        if syntax is not None and not syntax.is_little_endian:
            raise _other_encoding(path, "in big-endian order")
        walker = _Walker(stream, implicit=bool(header.is_implicit_VR))
        groups = [_group(*found) for found in walker.groups()]
    return header, groups


def _other_encoding(path: Path, how: str) -> SourceError:
    return SourceError(
        SourceFault.MALFORMED,
        f"{path} is stored {how}: write it as Explicit VR Little Endian by `dcmconv +te` of dcmtk",
    )


def _stops(tag: int, length: int, wanted: bool) -> bool:
    """Return whether to stop before an element: the wanted one, or one that fills the memory."""
    return wanted or (tag >> 16 != _ITEM >> 16 and _MAX_HEADER_BYTES < length < _UNDEFINED)


class _BoundedFile:
    """A file that reads no more than is there, and no element that fills the memory."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if size < 0:  # pydicom decompresses what is compressed as a whole, whatever its size
            raise _other_encoding(self._path, "compressed as a whole")
        wanted = min(size, max(0, self.size - self.tell()))
        if wanted > _MAX_HEADER_BYTES:
            raise ValueError(f"one of its elements has {wanted} bytes")
        return self._file.read(wanted)


class _Walker:
    """Finds the groups of a waveform sequence without reading their samples.

    pydicom reads a whole sequence into memory, a day of ECG included; so its reader is stopped
    before the samples of each item.
    """

    def __init__(self, stream: _BoundedFile, *, implicit: bool) -> None:
        self._stream = stream
        self._implicit = implicit
        self._size = stream.size

    def groups(self) -> Generator[tuple[Any, int, int]]:
        """Yield the elements of each group, and position and length in bytes of its samples.

        The stream is at the waveform sequence, or at its end.
        """
        found = self._element()
        if found is None or found[0] != _WAVEFORM_SEQUENCE:
            return
        end = self._size if found[1] == _UNDEFINED else self._stream.tell() + found[1]
        while self._stream.tell() < min(end, self._size):
            tag, length = self._tag()
            if tag != _ITEM:
                return
            item_end = None if length == _UNDEFINED else self._stream.tell() + length
            item = self._elements(lambda tag: tag in {_WAVEFORM_DATA, _ITEM_END})
            data = self._element()
            if data is None or data[0] != _WAVEFORM_DATA:
                return
            if data[1] == _UNDEFINED:
                raise ValueError("its samples are encapsulated")
            position = self._stream.tell()
            yield item, position, max(0, min(data[1], self._size - position))
            self._stream.seek(position + data[1])
            if item_end is None:
                self._elements(lambda tag: tag == _SEQUENCE_END)
                item_end = self._stream.tell()
            self._stream.seek(item_end)

    def _elements(self, stop: Any) -> Any:  # noqa: ANN401 - a Dataset
        """Read elements up to one that `stop` names, which is not read."""
        from pydicom.filereader import read_dataset  # noqa: PLC0415 - of an extra

        return read_dataset(
            cast("BinaryIO", self._stream),
            self._implicit,
            True,  # little endian
            stop_when=lambda tag, _vr, length: _stops(tag, length, stop(tag)),
        )

    def _element(self) -> tuple[int, int] | None:
        """Read the tag and the length of an element."""
        raw = self._stream.read(8)
        if len(raw) < 8:
            return None
        group, element = struct.unpack("<HH", raw[:4])
        if self._implicit:
            return group << 16 | element, struct.unpack("<I", raw[4:])[0]
        if raw[4:6] in {b"OW", b"OB", b"SQ", b"UN", b"OL", b"OF"}:
            return group << 16 | element, struct.unpack("<I", self._stream.read(4))[0]
        return group << 16 | element, struct.unpack("<H", raw[6:])[0]

    def _tag(self) -> tuple[int, int]:
        raw = self._stream.read(8)
        if len(raw) < 8:
            return 0, 0
        group, element, length = struct.unpack("<HHI", raw)
        return group << 16 | element, length


def _group(item: Any, position: int, length: int) -> _Group:  # noqa: ANN401
    channels = list(item.ChannelDefinitionSequence)
    count = int(item.NumberOfWaveformChannels)
    if not 0 < count == len(channels):
        raise ValueError(f"it states {count} channels, but describes {len(channels)}")
    kind = str(item.WaveformSampleInterpretation)
    if kind not in _SAMPLES:
        raise ValueError(f"its samples are stored as {kind!r}, which is no number")
    dtype = np.dtype(_SAMPLES[kind])
    rate_hz = float(item.SamplingFrequency)
    names = distinct([_name(channel, i) for i, channel in enumerate(channels)])
    signals, scales = [], []
    for name, channel in zip(names, channels, strict=True):
        signal, scale = _channel(name, channel, rate_hz)
        signals.append(signal)
        scales.append(scale)
    offset_ms = item.get("MultiplexGroupTimeOffset")
    return _Group(
        signals,
        scales,
        length // (count * dtype.itemsize),
        int(item.NumberOfWaveformSamples),
        float(offset_ms or 0.0) / 1000.0,
        str(item.get("WaveformOriginality") or "").upper() == "DERIVED",
        dtype,
        _padding(item, dtype),
        position,
    )


def _name(channel: Any, number: int) -> str:  # noqa: ANN401
    source = channel.get("ChannelSourceSequence")
    meaning = str(source[0].get("CodeMeaning") or "") if source else ""
    name = (meaning or str(channel.get("ChannelLabel") or "") or f"ECG{number + 1}").strip()
    for word in _LEAD_WORDS:
        if name.lower().startswith(word):
            name = name[len(word) :].strip()
    name = re.sub(r"\s*\([^)]*\)$", "", name)  # `I (Einthoven)`
    # A limb lead may be given as a number.
    return {"1": "I", "2": "II", "3": "III"}.get(name, name)


def _channel(name: str, channel: Any, rate_hz: float) -> tuple[FileSignal, _Scale]:  # noqa: ANN401
    sensitivity = channel.get("ChannelSensitivity")
    if sensitivity is None:
        signal = FileSignal.of(name, "adu", rate_hz)
        return signal, _Scale(0.0, signal.mv_per_unit or MV_PER_COUNT)
    units = channel.get("ChannelSensitivityUnitsSequence")
    unit = str(units[0].get("CodeValue") or units[0].get("CodeMeaning") or "") if units else "mV"
    unit = {"mm[Hg]": "mmHg"}.get(unit, unit)
    size = float(sensitivity) * float(channel.get("ChannelSensitivityCorrectionFactor") or 1.0)
    baseline = float(channel.get("ChannelBaseline") or 0.0)
    signal = FileSignal.of(name, unit, rate_hz)
    if not np.isfinite(size) or not size or not np.isfinite(baseline):
        raise ValueError(f"channel {name} has the sensitivity {sensitivity}")
    return signal, _Scale(baseline / size, size * (mv_per_unit(unit) or signal.mv_per_unit or 1.0))


def _padding(item: Any, dtype: np.dtype[Any]) -> int | None:  # noqa: ANN401
    """Return the stored value of a missing sample."""
    value = item.get("WaveformPaddingValue")
    if isinstance(value, bytes) and len(value) >= dtype.itemsize:
        return int(np.frombuffer(value[: dtype.itemsize], dtype)[0])
    return int(value) if isinstance(value, int) else None


def _longest(groups: list[_Group]) -> list[_Group]:
    """Return the groups to read: the longest of an ECG, and those that continue it."""
    found = [g for g in groups if any(s.mv_per_unit is not None for s in g.signals)] or groups
    found = [g for g in found if not g.derived] or found
    best = max(found, key=lambda g: g.rows / (g.signals[0].rate_hz or 1.0))
    alike = sorted((g for g in found if g.signals == best.signals), key=lambda g: g.offset_s)
    used: list[_Group] = []
    for group in alike:
        last = used[-1] if used else None
        rate_hz = group.signals[0].rate_hz
        if last is None or group.offset_s >= last.offset_s + (last.rows - 1) / rate_hz:
            used.append(group)
    return used if best in used else [best]


def _other_groups(groups: list[_Group], used: list[_Group]) -> list[str]:
    left = [group for group in groups if group not in used]
    return [
        f"a {'derived ' if group.derived else ''}group of "
        f"{group.rows / (group.signals[0].rate_hz or 1.0):.3g} s at "
        f"{group.signals[0].rate_hz:g} Hz is not used "
        f"({', '.join(signal.name for signal in group.signals)})"
        for group in left
    ]


def _start_utc(header: Any) -> datetime | None:  # noqa: ANN401
    """Return the time of the acquisition; None where it is not stated or not understood."""
    stated = str(header.get("AcquisitionDateTime") or "")
    for date, time in (("ContentDate", "ContentTime"), ("StudyDate", "StudyTime")):
        if not stated:
            stated = f"{header.get(date) or ''}{header.get(time) or ''}"
    zone = str(header.get("TimezoneOffsetFromUTC") or "")
    digits, sign = stated, ""
    for mark in "+-":
        if mark in stated:
            digits, sign, offset = stated.partition(mark)
            zone = sign + offset
    if len(digits.partition(".")[0]) < 14:
        return None
    try:
        moment = datetime.strptime(f"{digits[:14]}+0000", "%Y%m%d%H%M%S%z")
        moment += timedelta(seconds=float(f"0.{digits.partition('.')[2] or 0}"))
        if len(zone) == 5:
            minutes = int(zone[1:3]) * 60 + int(zone[3:])
            moment -= timedelta(minutes=minutes if zone[0] == "+" else -minutes)
    except (ValueError, OverflowError):
        return None
    return moment


def _chunks(
    path: Path, groups: list[_Group], channels: list[int]
) -> Generator[tuple[int, FloatArray]]:
    """Yield the samples of the chosen channels, group by group."""
    begin = 0
    for group in groups:
        rate_hz = group.signals[0].rate_hz
        begin = max(begin, round((group.offset_s - groups[0].offset_s) * rate_hz))
        for samples in _of_group(path, group, channels):
            yield begin, samples
            begin += len(samples)
        if group.rows < group.stated_rows:
            raise SourceError(
                SourceFault.TRUNCATED,
                f"{path} is truncated: {group.rows} of {group.stated_rows} samples a lead exist; "
                "get the file again",
            )


def _of_group(path: Path, group: _Group, channels: list[int]) -> Generator[FloatArray]:
    width = len(group.signals)
    step = max(1, _CHUNK_BYTES // (width * group.dtype.itemsize))
    shift = np.array([group.scales[i].shift for i in channels])
    factor = np.array([group.scales[i].factor for i in channels])
    rows = min(group.rows, group.stated_rows) if group.stated_rows else group.rows
    with path.open("rb") as stream:
        stream.seek(group.position)
        for first in range(0, rows, step):
            count = min(step, rows - first)
            raw = stream.read(count * width * group.dtype.itemsize)
            stored: NDArray[Any] = np.frombuffer(raw, group.dtype).reshape(count, width)
            samples = stored[:, channels].astype(np.float64)
            if group.padding is not None:
                samples[samples == group.padding] = np.nan
            yield (samples + shift) * factor

"""Speed and memory of reading a long recording: `python -m tocsin_agent.lab.bench_files`.

A day of 12 leads at 500 Hz is written and read in a process of its own.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from tocsin_agent.errors import LabError
from tocsin_agent.extras import import_extra
from tocsin_agent.sources.base import EndOfStream
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.signal import FloatArray

RATE_HZ = 500
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_MINUTE = 60 * RATE_HZ
_PLACE = b"\x5a\xa5" * 8  # stands for the samples while the header is written


class Cost(NamedTuple):
    """What reading a recording took.

    Attributes
    ----------
    x_realtime : float
        Seconds of ECG a second.
    peak_mb : float
        Largest memory of the process, in MB.
    """

    x_realtime: float
    peak_mb: float


def measure(kind: str, minutes: int) -> Cost:
    """Write a recording of a kind (`edf`, `dicom`, `csv`) and read it in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder:
        path = Path(folder) / f"long.{kind}"
        _WRITERS[kind](path, minutes)
        ended = subprocess.run(
            [sys.executable, "-m", "tocsin_agent.lab.bench_files", "--read", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
    if ended.returncode:
        raise LabError(f"reading a {kind} failed: {ended.stderr.strip()[-500:]}")
    x_realtime, peak_mb = map(float, ended.stdout.split())
    return Cost(x_realtime, peak_mb)


def _minute() -> FloatArray:
    """Return a minute of beats on every lead, in mV."""
    t = np.arange(_MINUTE) / RATE_HZ
    beat = np.exp(-0.5 * (((t % 0.8) - 0.4) / 0.011) ** 2)
    return np.column_stack([beat * (1.0 - 0.05 * i) for i in range(len(LEADS))])


def _write_edf(path: Path, minutes: int) -> None:
    edfio = import_extra("edfio", "edf", "an EDF file")
    signals = [
        edfio.EdfSignal(
            lead, RATE_HZ, label=name, physical_dimension="mV", physical_range=(-5.0, 5.0)
        )
        for name, lead in zip(LEADS, _minute().T, strict=True)
    ]
    edfio.Edf(signals).write(path)
    stored = path.read_bytes()
    header = bytearray(stored[: 256 * (len(LEADS) + 1)])
    records = minutes * 60
    header[236:244] = str(records).encode().ljust(8)
    _repeat(path, bytes(header), stored[len(header) :], b"", minutes)


def _write_dicom(path: Path, minutes: int) -> None:
    pydicom = import_extra("pydicom", "dicom", "a DICOM file")
    dataset, items = pydicom.Dataset, pydicom.Sequence
    group = dataset()
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = len(LEADS), minutes * _MINUTE
    group.SamplingFrequency = RATE_HZ
    channels = []
    for name in LEADS:
        source, unit, channel = dataset(), dataset(), dataset()
        source.CodeMeaning, unit.CodeValue = f"Lead {name}", "uV"
        channel.ChannelSourceSequence = items([source])
        channel.ChannelSensitivity = 2.5
        channel.ChannelSensitivityUnitsSequence = items([unit])
        channels.append(channel)
    group.ChannelDefinitionSequence = items(channels)
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformData = _PLACE
    data = dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.3", "1.2.3"
    data.WaveformSequence = items([group])
    data["WaveformSequence"].is_undefined_length = True
    group.is_undefined_length_sequence_item = True
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = data.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta = meta
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    before, _, after = path.read_bytes().partition(_PLACE)
    block = np.rint(_minute() * 400).astype("<i2").tobytes()
    length = struct.pack("<I", len(block) * minutes)
    _repeat(path, before[:-4] + length, block, after, minutes)


def _write_csv(path: Path, minutes: int) -> None:
    rows = _minute().tolist()
    with path.open("w") as stream:
        stream.write(",".join(["time", *LEADS]) + "\n")
        for minute in range(minutes):
            lines = (
                f"{minute * 60 + i / RATE_HZ:.3f}," + ",".join(f"{v:.4f}" for v in row) + "\n"
                for i, row in enumerate(rows)
            )
            stream.writelines(lines)


def _repeat(path: Path, before: bytes, block: bytes, after: bytes, times: int) -> None:
    with path.open("wb") as stream:
        stream.write(before)
        for _ in range(times):
            stream.write(block)
        stream.write(after)


_WRITERS: dict[str, Callable[[Path, int], None]] = {
    "edf": _write_edf,
    "dicom": _write_dicom,
    "csv": _write_csv,
}


def _read(path: str) -> None:
    began_s, rows = time.perf_counter(), 0
    with open_source(path, block_s=30.0) as source:
        rate_hz = source.spec.rate_hz
        while True:
            try:
                block = source.read(0.0)
            except EndOfStream:
                break
            rows += len(block) if block is not None else 0
    took_s = time.perf_counter() - began_s
    click.echo(f"{rows / rate_hz / took_s} {_peak_kb() / 1024}")


def _peak_kb() -> int:
    """Return the largest memory of this process; `ru_maxrss` would be at least its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice(list(_WRITERS)))
@click.option("--minutes", default=1440, show_default=True, help="Length of the recording.")
@click.option("--read", hidden=True, help="Read this file and print what it took.")
def main(kinds: tuple[str, ...], minutes: int, read: str | None) -> None:
    """Measure how long recordings are read; without KINDS, EDF and DICOM."""
    if read is not None:
        _read(read)
        return
    for kind in kinds or ("edf", "dicom"):
        cost = measure(kind, minutes)
        click.echo(
            f"{kind}: {minutes} min of {len(LEADS)} leads at {RATE_HZ} Hz: "
            f"{cost.x_realtime:,.0f} times real time, at most {cost.peak_mb:.0f} MB"
        )


if __name__ == "__main__":
    main()

"""Damaged files: each is read, or refused with a `SourceError`, in bounded memory."""

from __future__ import annotations

import os
import random
import resource
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io

from support.recording_files import dicom_group, ecg, write_aecg, write_dicom, write_edf
from support.recordings import read_to_fault
from tocsin_agent.errors import SourceError
from tocsin_agent.sources.files.table_options import TableOptions
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.signal import FloatArray

ECG = ecg(2000, 250, 2)
MOST_BYTES = 64 << 20  # that Python may hold beside what it held before
MUTATIONS = int(os.environ.get("TOCSIN_MUTATIONS", "40"))  # a format


def write_csv(path: Path) -> Path:
    rows = "".join(f"{i / 250:.3f},{a:.4f},{b:.4f}\n" for i, (a, b) in enumerate(ECG.tolist()))
    path.write_text("time,II (mV),V5 (mV)\n" + rows)
    return path


def write_opensignals(path: Path) -> Path:
    header = (
        '# OpenSignals Text File Format. Version 1\n# {"0": {"sensor": ["ECG"], "column": ["nSeq", '
        '"A1"], "label": ["A1"], "sampling rate": 250, "resolution": [10]}}\n# EndOfHeader\n'
    )
    path.write_text(header + "".join(f"{i % 16}\t{512 + i % 9}\t\n" for i in range(2000)))
    return path


def write_wfdb(path: Path) -> Path:
    header = path.with_suffix(".hea")
    (ECG * 200).round().astype("<i2").tofile(path)
    header.write_text(
        f"{path.stem} 2 250 2000 10:00:00 01/05/2024\n"
        f"{path.name} 16 200/mV 16 0 0 0 0 II\n{path.name} 16 200/mV 16 0 0 0 0 V5\n"
    )
    return header


def write_parquet(path: Path) -> Path:
    pq.write_table(pa.table({"time": np.arange(2000) / 250, "II": ECG[:, 0]}), path)
    return path


def write_mat(path: Path) -> Path:
    scipy.io.savemat(path, {"ecg": ECG, "fs": 250.0}, do_compression=True)
    return path


def write_npz(path: Path) -> Path:
    np.savez_compressed(path, ecg=ECG, rate_hz=250.0)
    return path


def write_npy(path: Path) -> Path:
    np.save(path, ECG)
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "a.csv": write_csv,
    "a.txt": write_opensignals,
    "a.dat": write_wfdb,
    "a.edf": lambda path: write_edf(path, ECG, 250, ["II", "V5"]),
    "a.dcm": lambda path: write_dicom(path, [dicom_group(ECG, 250, ["Lead II", "Lead V5"])]),
    "b.dcm": lambda path: write_dicom(
        path, [dicom_group(ECG, 250, ["Lead II", "Lead V5"])], implicit=True, undefined=True
    ),
    "a.xml": lambda path: write_aecg(path, ECG, 250, ["II", "V5"]),
    "a.mat": write_mat,
    "a.parquet": write_parquet,
    "a.npz": write_npz,
    "a.npy": write_npy,
}


def mutated(stored: bytes, chance: random.Random) -> bytes:
    """Damage a file: mostly where its header is."""
    data = bytearray(stored)
    kind = chance.randrange(8)
    head = min(len(data), chance.choice([64, 512, 4096, len(data)]))
    at = chance.randrange(head)
    if kind == 0:
        return bytes(data[: chance.randrange(len(data))])
    if kind == 1:
        data[at:at] = chance.randbytes(chance.randrange(1, 200))
    elif kind == 2:
        del data[at : at + chance.randrange(1, 200)]
    elif kind == 3:
        data[at : at + 4] = chance.choice([b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0"])
    elif kind == 4:
        data[at : at + 8] = b"\0" * 8
    elif kind == 5:
        data[at : at + 4] = chance.choice([b"nan ", b"-inf", b"9999", b"1e99", b"-1  "])
    else:
        for _ in range(chance.randrange(1, 20)):
            data[chance.randrange(head)] = chance.randrange(256)
    return bytes(data)


@pytest.fixture
def bounded() -> Iterator[None]:
    """Fail instead of filling the machine's memory: the address space may grow by 4 GB."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def samples_of(path: Path, options: TableOptions) -> FloatArray | str:
    """Return the samples of a damaged file, or why it is refused; no other error may come out."""
    try:
        with open_source(str(path), table=options, block_s=60.0) as source:
            _, samples, fault = read_to_fault(source)
    except SourceError as error:
        return str(error)
    return samples if fault is None or len(samples) else str(fault)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name)
    opened = path
    damaged = [path, tmp_path / name] if path != tmp_path / name else [path]
    originals = [file.read_bytes() for file in damaged]
    chance = random.Random(name)
    outcomes = set()
    options = TableOptions(rate_hz=None if name.endswith((".csv", ".edf")) else 250.0)
    tracemalloc.start()
    for number in range(MUTATIONS):
        for file, stored in zip(damaged, originals, strict=True):
            file.write_bytes(stored)
        which = number % len(damaged)
        damaged[which].write_bytes(mutated(originals[which], chance))
        found = samples_of(opened, options)
        if isinstance(found, str):
            assert found.strip()
            outcomes.add("refused")
        else:
            assert not np.isinf(found).any()
            outcomes.add("read")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST_BYTES
    # Else the mutations reach too little; an archive has checksums.
    assert outcomes >= ({"refused"} if name == "a.npz" else {"read", "refused"})


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("content", [b"\0", b"\0" * 5000, b"\n" * 5000, bytes(range(256)) * 40])
def test_what_is_no_file_of_that_format_is_refused(
    name: str, content: bytes, tmp_path: Path
) -> None:
    path = WRITERS[name](tmp_path / name)
    path.write_bytes(content)
    assert isinstance(samples_of(path, TableOptions(rate_hz=250.0)), str)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", ["a.csv", "a.txt"])
def test_a_line_without_an_end_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"1" * (100 << 20))
    tracemalloc.start()
    found = samples_of(tmp_path / name, TableOptions(rate_hz=250.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(found, str)
    assert "a line of more than" in found
    assert peak < MOST_BYTES

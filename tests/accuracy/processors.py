"""Whether models answer alike on an older processor: `python tests/accuracy/processors.py`.

An x86 processor without VNNI adds the products of 8-bit numbers in pairs of 16 bits, which
can overflow: then the same int8 file answers otherwise on an older gateway. Beats and waveforms
of records in which ectopy, noise and fibrillation are frequent are asked about here, and again
on an emulated Haswell of 2013 (`qemu-x86_64`, Debian's `qemu-user`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tocsin_agent.lab.ec57 import noise as reader
from tocsin_dsp.conditioning.condition import Conditioner
from tocsin_dsp.conditioning.quality import QualityMeter
from tocsin_dsp.leads.leads import LeadBeat, LeadSet
from tocsin_dsp.rhythms.fibrillation import Window, WindowObserver
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import load_models

RECORDS = (
    *("mitdb/119", "mitdb/207", "mitdb/208", "svdb/820", "svdb/865", "vfdb/418", "vfdb/611"),
    *("nstdb/em", "nstdb/ma"),
)
PROCESSOR = "Haswell"


def ask(file: Path) -> None:
    """Write what the models of beats and of fibrillation are asked about."""
    beats, windows = [], []
    for name in RECORDS:
        record = reader.read_record(name)
        spec = StreamSpec(name, record.rate_hz, tuple(f"ECG{i}" for i in range(len(record.leads))))
        piece = Conditioner(spec).push(SampleBlock(spec, 0, record.millivolts()))
        hops = QualityMeter(len(spec.leads), spec.range_mv).push(piece.samples)
        seen = WindowObserver(len(spec.leads)).push(
            piece, LeadSet(len(spec.leads)).push(piece, hops)
        )
        beats += [o.view for o in seen if isinstance(o, LeadBeat) and o.view.readable]
        windows += [o for o in seen if isinstance(o, Window)]
    np.savez(
        file,
        shapes=np.array([v.shapes for v in beats]),
        features=np.array([v.features for v in beats]),
        waveforms=np.array([[w.shape] for w in windows]),
        measures=np.array([w.features for w in windows]),
    )


def answer(folder: Path) -> None:
    """Let the models answer, and write what they say."""
    given, models = np.load(folder / "asked.npz"), load_models()
    assert models.beats is not None
    assert models.vf is not None
    np.savez(
        folder / "answers.npz",
        beats=models.beats.classify(given["shapes"], given["features"]),
        vf=models.vf.classify(given["waveforms"], given["measures"]),
    )


def main() -> None:
    """Print how many answers differ, and by how much."""
    if len(sys.argv) > 1:
        answer(Path(sys.argv[1]))
        return
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        sys.exit("qemu-x86_64 is missing: apt-get install qemu-user")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ask(folder / "asked.npz")
        told = []
        for prefix in ([], [emulator, "-cpu", PROCESSOR]):
            command = [*prefix, sys.executable, __file__, name]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            with np.load(folder / "answers.npz") as answers:
                told.append(dict(answers))
    for model, here in told[0].items():
        there = told[1][model]
        apart = np.abs(here - there).max(axis=1)
        sys.stdout.write(
            f"{model:6}{len(here):6} answers, {np.count_nonzero(apart > 0.001)} differ, "
            f"by {apart.max():.3f} at most\n"
        )


if __name__ == "__main__":
    main()

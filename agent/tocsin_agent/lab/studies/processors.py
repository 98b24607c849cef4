"""Compare the models' answers here and on an older processor.

    python -m tocsin_agent.lab.studies.processors

An x86 processor without VNNI adds the products of 8-bit numbers in pairs of 16 bits, which can
overflow: then the same int8 file gives other answers on an older gateway. Beats and waveforms of
records in which ectopy, noise and fibrillation are frequent are classified here, and again on an
emulated Haswell of 2013 (`qemu-x86_64`, Debian's `qemu-user`).
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
MODULE = "tocsin_agent.lab.studies.processors"


def write_inputs(file: Path) -> None:
    """Write the inputs of the models of beats and of fibrillation."""
    beats, windows = [], []
    for name in RECORDS:
        record = reader.read_record(name)
        spec = StreamSpec(name, record.rate_hz, tuple(f"ECG{i}" for i in range(len(record.leads))))
        piece = Conditioner(spec).push(SampleBlock(spec, 0, record.millivolts()))
        hops = QualityMeter(len(spec.leads), spec.range_mv).push(piece.samples)
        observed = WindowObserver(len(spec.leads)).push(
            piece, LeadSet(len(spec.leads)).push(piece, hops)
        )
        beats += [o.view for o in observed if isinstance(o, LeadBeat) and o.view.readable]
        windows += [o for o in observed if isinstance(o, Window)]
    np.savez(
        file,
        shapes=np.array([v.shapes for v in beats]),
        features=np.array([v.features for v in beats]),
        waveforms=np.array([[w.shape] for w in windows]),
        measures=np.array([w.features for w in windows]),
    )


def answer(folder: Path) -> None:
    """Classify the inputs and write the answers."""
    given, models = np.load(folder / "inputs.npz"), load_models()
    assert models.beats is not None  # noqa: S101 - the shipped models are complete
    assert models.vf is not None  # noqa: S101
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
        write_inputs(folder / "inputs.npz")
        results = []
        for prefix in ([], [emulator, "-cpu", PROCESSOR]):
            command = [*prefix, sys.executable, "-m", MODULE, name]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            with np.load(folder / "answers.npz") as answers:
                results.append(dict(answers))
    for model, here in results[0].items():
        there = results[1][model]
        apart = np.abs(here - there).max(axis=1)
        sys.stdout.write(
            f"{model:6}{len(here):6} answers, {np.count_nonzero(apart > 0.001)} differ, "
            f"by {apart.max():.3f} at most\n"
        )


if __name__ == "__main__":
    main()

"""How the cost of the monitor grows: `python -m tocsin_agent.lab.bench_growth`.

Instructions for a second of ECG, counted by valgrind, against leads, sampling rate and length of
the blocks; all else is as in a live stream of two leads at 360 Hz in blocks of 250 ms. Growth with
patients and days is measured in real time by `tocsin bench --patients` and `--days`.
"""

from __future__ import annotations

import shutil
from typing import NamedTuple

import click
import numpy as np

from tocsin_agent.errors import LabError
from tocsin_agent.lab.bench_instructions import instrument, under_callgrind
from tocsin_agent.lab.bench_peers import RATE_HZ
from tocsin_agent.lab.bench_workload import excerpt
from tocsin_agent.monitor import PatientMonitor
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec
from tocsin_models import load_models

_WARM_S = 20.0  # of ECG, whole blocks of each length below
_COUNTED_S = 10.0
_GAINS = np.array((1.0, -0.5, 0.7, -0.8))  # of the leads, which are made of one


class Case(NamedTuple):
    """A stream whose cost is counted."""

    leads: int = 2
    rate_hz: float = 360.0
    block_s: float = 0.25


CASES = (
    *(Case(leads=n) for n in (1, 2, 3, 8, 12)),
    *(Case(rate_hz=rate) for rate in (125.0, 250.0, 500.0, 1000.0)),
    *(Case(block_s=block_s) for block_s in (0.05, 1.0, 10.0)),
)


def instructions_per_s(case: Case) -> float:
    """Count the instructions of a second of ECG in a process of its own; raises `LabError`."""
    argument = ",".join(f"{value:g}" for value in case)
    _, collected = under_callgrind("tocsin_agent.lab.bench_growth", argument)
    return collected / _COUNTED_S


def _run(case: Case) -> None:
    """Monitor a stream; count after its warm-up."""
    spec = StreamSpec("bench", case.rate_hz, tuple(f"lead {i + 1}" for i in range(case.leads)))
    monitor = PatientMonitor(spec, models=load_models())
    x = _stream(excerpt(), case)
    size = round(case.block_s * case.rate_hz)
    counting = False
    for start in range(0, len(x) - size + 1, size):
        if not counting and start >= _WARM_S * case.rate_hz:
            instrument("on")
            counting = True
        monitor.push(SampleBlock(spec, start, x[start : start + size]))
    instrument("off")


def _stream(ecg: FloatArray, case: Case) -> FloatArray:
    """Return the samples of a case: the excerpt, linearly interpolated to its rate."""
    at_s = np.arange(round((_WARM_S + _COUNTED_S) * case.rate_hz)) / case.rate_hz
    one = np.interp(at_s, np.arange(len(ecg)) / RATE_HZ, ecg[:, 0])
    return np.outer(one, _GAINS[np.arange(case.leads) % len(_GAINS)])


@click.command(help=(__doc__ or "").splitlines()[0])
@click.argument("case", required=False)
def main(case: str | None) -> None:
    """Print a table; with a case, LEADS,HZ,SECONDS, run that one in this process."""
    if case is not None:
        leads, rate_hz, block_s = case.split(",")
        _run(Case(int(leads), float(rate_hz), float(block_s)))
        return
    if shutil.which("valgrind") is None:
        raise LabError("valgrind is not installed: apt-get install valgrind")
    for each in CASES:
        click.echo(
            f"{each.leads:2} leads  {each.rate_hz:5g} Hz  {each.block_s:5g} s blocks  "
            f"{instructions_per_s(each) / 1e6:8.2f} M instructions a second of ECG"
        )


if __name__ == "__main__":
    main()

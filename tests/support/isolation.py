"""How late other patients are while one patient's monitoring misbehaves: a program, not a test.

::

    PYTHONPATH=tests:$PYTHONPATH python tests/support/isolation.py

Eight patients in one process and real time, blocks of 250 ms. Bed 1 does one thing after the other
for some seconds; the others' blocks are due each 250 ms, and how late the latest comes is printed.
The last thing is that bed 9 is added by SIGHUP, and removed, again and again.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from support.brokers import Mosquitto
from tocsin_agent.config.several import load_patients
from tocsin_agent.monitor.patient import PatientMonitor
from tocsin_agent.monitor.report import Report
from tocsin_agent.runtime.gateway import Gateway
from tocsin_dsp.signal import SampleBlock

_BEDS = 8
_SECONDS = 12.0
_BLOCK_S = 0.25
_PUSH = PatientMonitor.push


def raise_an_error(block: SampleBlock) -> SampleBlock:  # noqa: ARG001
    """Raise at every block."""
    raise RuntimeError("injected")


def work(block: SampleBlock) -> SampleBlock:
    """Work for 2 s in Python."""
    end_s = time.monotonic() + 2.0
    while time.monotonic() < end_s:
        sum(range(1000))
    return block


def sort(block: SampleBlock) -> SampleBlock:
    """Work for some 2 s in one call of NumPy."""
    np.sort(np.random.default_rng(0).random(20_000_000))
    return block


def allocate(block: SampleBlock) -> SampleBlock:
    """Allocate and touch 1 GB."""
    np.ones(125_000_000)
    return block


def flood(block: SampleBlock) -> SampleBlock:
    """Ten minutes of samples at once, in every block."""
    rows = np.tile(block.samples_mv, (2400, 1))
    _PUSH(PatientMonitor(block.spec), SampleBlock(block.spec, 0, rows))
    return block


def nan_storm(block: SampleBlock) -> SampleBlock:
    """Every other sample is missing."""
    samples = block.samples_mv.copy()
    samples[::2] = np.nan
    return SampleBlock(block.spec, block.start_index, samples)


def nothing(block: SampleBlock) -> SampleBlock:
    """Behave."""
    return block


def reload(block: SampleBlock) -> SampleBlock:
    """Behave, while `_change` adds and removes another bed."""
    return block


def main() -> None:
    """Print how late the others are."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Mosquitto(folder)
        broker.start()
        try:
            for fault in (nothing, raise_an_error, work, sort, allocate, flood, nan_storm, reload):
                late = _lateness(folder, broker.port, fault)
                p99, most = np.percentile(late, 99), late.max()
                line = f"{fault.__name__:<16}{len(late):>6} blocks  p99 {p99:6.1f} ms"
                sys.stdout.write(f"{line}  max {most:6.1f} ms\n")
        finally:
            broker.stop()


def _change(gateway: Gateway, path: Path, stop: threading.Event) -> None:
    """Add bed 9 and remove it, six times."""
    with_eight = path.read_text()
    bed = with_eight[with_eight.index("[[patient]]") :].split("[[patient]]")[1]
    for text in [with_eight + "[[patient]]" + bed.replace("bed-1", "bed-9"), with_eight] * 6:
        stop.wait(1.0)
        path.write_text(text)
        if not gateway.reload():
            raise RuntimeError("the file does not apply")


def _lateness(
    folder: Path, port: int, fault: Callable[[SampleBlock], SampleBlock]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return by how many ms each block of the other beds came later than the one before asks."""
    path = folder / f"{fault.__name__}.toml"
    beds = "".join(
        f'[[patient]]\ndevice = "bed-{n}"\n'
        f'source = {{ uri = "synthetic:all_alarms", speed = 1, block_s = {_BLOCK_S} }}\n'
        for n in range(1, _BEDS + 1)
    )
    path.write_text(
        f'site = "ward3"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
        f'[outbox]\npath = "{folder}/{fault.__name__}.db"\n{beds}'
    )
    pushed, ended = PatientMonitor.push, dict[str, list[float]]()

    def push(self: PatientMonitor, block: SampleBlock) -> Report:
        name = threading.current_thread().name
        if name == "tocsin-bed-1":
            block = fault(block)
        report = pushed(self, block)
        ended.setdefault(name, []).append(time.monotonic())
        return report

    PatientMonitor.push = push  # type: ignore[method-assign]
    stop = threading.Event()
    try:
        with Gateway(load_patients(path), lambda: load_patients(path)) as gateway:
            thread = threading.Thread(target=gateway.run, args=(stop,))
            thread.start()
            if fault is reload:
                _change(gateway, path, stop)
            stop.wait(_SECONDS)
            stop.set()
            thread.join()
    finally:
        PatientMonitor.push = pushed  # type: ignore[method-assign]
    late = []
    for name, times in ended.items():
        if name not in {"tocsin-bed-1", "tocsin-bed-9"}:
            at = np.array(times[4:])  # the start is not measured
            due = at - _BLOCK_S * np.arange(len(at))
            late.append(1000 * (due - due.min()))
    return np.concatenate(late)


if __name__ == "__main__":
    main()

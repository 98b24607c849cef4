"""The instructions that the monitor executes, counted by valgrind's callgrind.

Times vary by a third on a shared machine, counts by a thousandth. Each workload runs in a process
of its own, which begins to count when its monitor has warmed up. Callgrind offers no AVX-512: NumPy
and onnxruntime run their AVX2 code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tocsin_agent import build
from tocsin_agent.errors import LabError
from tocsin_agent.lab.bench_workload import (
    BULK_BLOCK_S,
    LIVE_BLOCK_S,
    excerpt,
    monitored,
    two_leads,
)

_WARM_S = 60.0  # of ECG
_COUNTED_S = {"live": 60.0, "bulk": 540.0}  # of ECG: 240 blocks of 250 ms, nine of 60 s
_LIMIT_S = 1800.0  # after which a process is an error
_POLL_S = 0.02


class _Counted(NamedTuple):
    instructions: int
    units: int  # blocks if live, beats in bulk


def measure_instructions() -> dict[str, Any]:
    """Count the instructions of a live block of two leads, and of a beat in bulk.

    Returns
    -------
    dict
        `build`, `live_block` and `bulk_beat`; or `error`, where valgrind is not installed.
    """
    if shutil.which("valgrind") is None or shutil.which("vgdb") is None:
        return {"error": "not counted: valgrind is not installed; apt-get install valgrind"}
    live, bulk = (_count(kind) for kind in ("live", "bulk"))
    return {
        "build": build(),
        "live_block": round(live.instructions / live.units),
        "bulk_beat": round(bulk.instructions / bulk.units),
    }


def _count(kind: str) -> _Counted:
    """Run a workload under callgrind."""
    output, collected = under_callgrind("tocsin_agent.lab.bench_instructions", kind)
    return _Counted(collected, int(output))


def under_callgrind(module: str, argument: str) -> tuple[str, int]:
    """Run a module under callgrind; return its output, and what it counted between `instrument`.

    Raises
    ------
    LabError
        If it fails.
    """
    environment = os.environ | {
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # the code that runs here
    }
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as folder:
        ended = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", "--instr-atstart=no"),
                f"--callgrind-out-file={Path(folder) / 'out'}",
                *(sys.executable, "-m", module, argument),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
            env=environment,
        )
    counted = re.search(r"Collected : (\d+)", ended.stderr)
    if ended.returncode or counted is None:
        raise LabError(f"valgrind ended with {ended.returncode}: {ended.stderr[-500:].strip()}")
    return ended.stdout, int(counted[1])


def _work(kind: str) -> int:
    """Run a workload; count from the end of its warm-up on; return the blocks or beats counted."""
    ecg, live = excerpt(), kind == "live"
    if live:
        ecg = two_leads(ecg)
    block_s = LIVE_BLOCK_S if live else BULK_BLOCK_S
    units, counting = 0, False
    for now_s, report in monitored(ecg, _WARM_S + _COUNTED_S[kind], block_s):
        if counting:
            units += 1 if live else len(report.beats)
        elif now_s >= _WARM_S:
            instrument("on")
            counting = True
    instrument("off")
    return units


def instrument(state: str) -> None:
    """Switch the counting of this process `on` or `off`."""
    command = ["vgdb", f"--pid={os.getpid()}", "instrumentation", state]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as asked:
        while asked.poll() is None:  # valgrind answers while the program runs
            time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.stdout.write(f"{_work(sys.argv[1])}\n")

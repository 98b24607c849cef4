"""The beat detectors of other programs, measured in the same run; none is a dependency.

Each gets half an hour of one lead at once and is timed after a warm-up, without what only reads or
writes its files. All detect beats only, and none causally but `gqrs`.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tocsin_dsp.signal import FloatArray

RATE_HZ = 360.0
_LIMIT_S = 300.0  # after which a program is an error

Find = Callable[[FloatArray], int]
"""Detect the beats of one lead; return their number."""


def _neurokit2(x: FloatArray) -> int:
    import neurokit2  # noqa: PLC0415 - a peer, not a dependency

    clean = neurokit2.ecg_clean(x, sampling_rate=int(RATE_HZ))
    return len(neurokit2.ecg_peaks(clean, sampling_rate=int(RATE_HZ))[1]["ECG_R_Peaks"])


def _xqrs(x: FloatArray) -> int:
    from wfdb import processing  # noqa: PLC0415 - likewise

    detector = processing.XQRS(sig=x, fs=RATE_HZ)
    detector.detect(verbose=False)
    return len(detector.qrs_inds)


def _sleepecg(x: FloatArray) -> int:
    from sleepecg import detect_heartbeats  # type: ignore[attr-defined]  # noqa: PLC0415

    return len(detect_heartbeats(x, RATE_HZ))


def _biosppy(x: FloatArray) -> int:
    from biosppy.signals import ecg  # noqa: PLC0415 - likewise

    return len(ecg.ecg(x, sampling_rate=RATE_HZ, show=False)["rpeaks"])


_PEERS: dict[str, Find] = {
    "neurokit2 ecg_clean and ecg_peaks": _neurokit2,
    "wfdb xqrs": _xqrs,
    "sleepecg detect_heartbeats": _sleepecg,
    "biosppy ecg": _biosppy,
}
_INSTALL = {"biosppy ecg": "pip install biosppy"}
_GQRS = "WFDB gqrs (C)"


def measure_peers(excerpt: FloatArray, monitor_x_realtime: float) -> dict[str, dict[str, Any]]:
    """Measure each peer that is installed.

    Parameters
    ----------
    excerpt : ndarray of float64, shape (n, 1)
        Five minutes of ECG at `RATE_HZ`, mV.
    monitor_x_realtime : float
        The speed of the whole monitor, for the ratio.

    Returns
    -------
    dict
        For each peer `x_realtime`, `times_tocsin` (its speed over that of the whole monitor) and
        `beats`; or `error`, which says how to install it.
    """
    x = np.tile(excerpt[:, 0], 6)
    seconds = len(x) / RATE_HZ
    measured: dict[str, dict[str, Any]] = {}
    for name, find in _PEERS.items():
        try:
            find(excerpt[:, 0])
        except ImportError as error:
            how = _INSTALL.get(name, "pip install 'tocsin[dev]'")
            measured[name] = {"error": f"{name} is not installed: {error}; {how}"}
            continue
        began = _cpu_s()
        beats = find(x)
        measured[name] = _figures(seconds, _cpu_s() - began, beats, monitor_x_realtime)
    program = shutil.which("gqrs")
    if program is None:
        advice = "build the WFDB software package, https://physionet.org/content/wfdb"
        measured[_GQRS] = {"error": f"gqrs is not on PATH: {advice}"}
    else:
        with _record(x) as folder:
            took_s, beats = _gqrs(program, folder)
        measured[_GQRS] = _figures(seconds, took_s, beats, monitor_x_realtime)
    return measured


def _figures(seconds: float, cpu_s: float, beats: int, monitor: float) -> dict[str, Any]:
    speed = seconds / max(cpu_s, 1e-6)
    return {
        "x_realtime": round(speed),
        "times_tocsin": round(speed / monitor, 2),
        "beats": beats,
    }


def _cpu_s() -> float:
    """Return the CPU time of this process and of the programs that it has waited for, s."""
    own, others = (
        resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


@contextmanager
def _record(x: FloatArray) -> Iterator[Path]:
    """Write one lead as the WFDB record `bench` in a folder."""
    import wfdb  # noqa: PLC0415 - as above

    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name:
        wfdb.wrsamp(
            "bench",
            fs=RATE_HZ,
            units=["mV"],
            sig_name=["MLII"],
            p_signal=x[:, None],
            fmt=["16"],
            write_dir=name,
        )
        yield Path(name)


def _gqrs(program: str, folder: Path) -> tuple[float, int]:
    """Run `gqrs` on the record `bench`; return its CPU time, s, and the number of beats."""
    import wfdb  # noqa: PLC0415 - as above

    began = _cpu_s()
    subprocess.run(
        [program, "-r", "bench"], cwd=folder, check=True, capture_output=True, timeout=_LIMIT_S
    )
    took_s = _cpu_s() - began
    return took_s, len(wfdb.rdann(str(folder / "bench"), "qrs").sample)

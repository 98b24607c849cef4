"""The cost of tocsin on this machine: speed, latency, start-up, memory, size; and of its peers.

All is measured on one core with one thread. The ECG is the excerpt of mitdb 208 (five minutes, one
lead, 360 Hz), repeated: an arrhythmic patient, so that beats, labels and alerts are all in the
cost.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tocsin_agent import build
from tocsin_agent.errors import LabError
from tocsin_agent.lab.bench_devices import devices_x_realtime
from tocsin_agent.lab.bench_instructions import measure_instructions
from tocsin_agent.lab.bench_peers import RATE_HZ, measure_peers
from tocsin_agent.lab.bench_workload import (
    BULK_BLOCK_S,
    LIVE_BLOCK_S,
    excerpt,
    monitored,
    repeated,
    two_leads,
)
from tocsin_agent.monitor import LabelledBeat
from tocsin_dsp.conditioning.resample import Resampler
from tocsin_dsp.detection.qrs import LeadDetector
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.signal import FloatArray

_START_LIMIT_S = 120.0  # after which a process that has not started is an error
_FIRST_SAMPLE = "monitoring "  # the agent's log line at its first sample
_STARTS = 3
_SETTLE_S = 5.0  # of work before the memory is measured
_DAY_S = 86400
_CORE = ("numpy", "onnxruntime", "paho-mqtt", "msgspec", "click")


def measure(
    hours: float, days: int, say: Callable[[str], None], *, instructions: bool = False
) -> dict[str, Any]:
    """Measure everything.

    Parameters
    ----------
    hours : float
        Length of ECG for the bulk figures.
    days : int
        Length of ECG through one monitor, to show that memory and time do not grow; 0 to skip.
    say : callable
        Called with the name of each measurement as it begins.
    instructions : bool
        Whether to count instructions too: some minutes.

    Returns
    -------
    dict
        The keys that `tocsin bench --help` lists.
    """
    ecg = excerpt()
    say(f"{hours:g} h through the whole monitor")
    whole, beats = _whole_monitor(ecg, hours)
    say("detection alone")
    detector = _detector(ecg, hours)
    say("live blocks of two leads")
    live_ms = _live_block_ms(ecg)
    endurance = None
    if days:
        say(f"{days} days through one monitor")
        endurance = _endurance(ecg, days)
    say("start-up and memory of `tocsin run`")
    startup_s, rss_mb = _run_process()
    counted = None
    if instructions:
        say("instructions, with valgrind: some minutes")
        counted = measure_instructions()
    latency_s = np.array([b.decided_index - b.r_index for b in beats]) / RATE_HZ
    say("peers")
    return {
        "schema": "tocsin/bench/v1",
        "hours": hours,
        "whole_monitor_x_realtime": round(whole),
        "detector_x_realtime": round(detector),
        "live_block_ms": round(live_ms, 3),
        "instructions": counted,
        "endurance": endurance,
        "link_64_devices_x_realtime": round(devices_x_realtime(ecg[:, 0])),
        "label_latency_s": {
            "median": round(float(np.median(latency_s)), 3),
            "p99": round(float(np.percentile(latency_s, 99)), 3),
        },
        "startup_s": round(startup_s, 2),
        "rss_mb": round(rss_mb, 1),
        "install_mb": round(_install_mb(), 1),
        "peers": measure_peers(ecg, whole),
        "machine": _machine(),
    }


def _whole_monitor(ecg: FloatArray, hours: float) -> tuple[float, list[LabelledBeat]]:
    beats: list[LabelledBeat] = []
    started = time.process_time()
    for _, report in monitored(ecg, hours * 3600, BULK_BLOCK_S):
        beats += report.beats
    return hours * 3600 / (time.process_time() - started), beats


def _endurance(ecg: FloatArray, days: int) -> dict[str, Any]:
    """Run days of ECG through one monitor; return memory after each, and CPU of its hours."""
    rss_mb, cpu_s_per_hour = [], []
    started = time.process_time()
    for now_s, _ in monitored(ecg, days * _DAY_S, BULK_BLOCK_S):
        if now_s % _DAY_S == 0:
            now = time.process_time()
            rss_mb.append(round(_rss_mb("self"), 1))
            cpu_s_per_hour.append(round((now - started) / 24, 3))
            started = now
    return {"days": days, "rss_mb": rss_mb, "cpu_s_per_hour": cpu_s_per_hour}


def _rss_mb(process: int | str) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


def _detector(ecg: FloatArray, hours: float) -> float:
    resampler, detector = Resampler(RATE_HZ, 1), LeadDetector()
    started = time.process_time()
    for _, samples in repeated(ecg, hours * 3600, BULK_BLOCK_S):
        detector.push(resampler.push(on_sample_grid(samples))[:, 0])
    return hours * 3600 / (time.process_time() - started)


def _live_block_ms(ecg: FloatArray) -> float:
    """Return the mean CPU cost of a block, in ms, over ten minutes."""
    started = time.process_time()
    blocks = sum(1 for _ in monitored(two_leads(ecg), 600, LIVE_BLOCK_S))
    return 1e3 * (time.process_time() - started) / blocks


def _run_process() -> tuple[float, float]:
    """Start `tocsin run` on a paced source with its broker down, `_STARTS` times.

    The first start writes the bytecode that an installed package has, and is not measured.

    Returns
    -------
    tuple of float
        Seconds from the start of the process to its first sample, the median, and its resident
        memory in MB after `_SETTLE_S`.
    """
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as folder:
        config = Path(folder) / "tocsin.toml"
        outbox = json.dumps(str(Path(folder) / "outbox"))
        config.write_text(
            'site = "bench"\ndevice = "bench"\n[source]\nuri = "synthetic:sinus"\nspeed = 1\n'
            f'[mqtt]\nport = 1\n[outbox]\npath = {outbox}\n[log]\nlevel = "info"\n'
        )
        environment = os.environ | {"PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        _started(config, environment, 0.0)
        starts = [_started(config, environment, _SETTLE_S) for _ in range(_STARTS)]
    return median(startup_s for startup_s, _ in starts), median(rss_mb for _, rss_mb in starts)


def _started(config: Path, environment: dict[str, str], settle_s: float) -> tuple[float, float]:
    """Start `tocsin run`; return the time to its first sample and its memory some time later."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tocsin_agent", "run", "--config", str(config)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stderr is not None  # noqa: S101 - a pipe, see above
    limit = threading.Timer(_START_LIMIT_S, process.kill)
    limit.start()
    try:
        if not any(_FIRST_SAMPLE in line for line in process.stderr):
            raise LabError("`tocsin run` did not start: run it with the log level info")
        startup_s = time.perf_counter() - began
        time.sleep(settle_s)
        return startup_s, _rss_mb(process.pid)
    finally:
        limit.cancel()
        process.send_signal(signal.SIGTERM)
        process.stderr.close()
        process.wait(20)


def _install_mb() -> float:
    """Return the size of the core and its dependencies as installed here, MB."""
    wanted, counted = list(_CORE), set[str]()
    size = sum(
        f.stat().st_size
        for package in ("tocsin_agent", "tocsin_dsp", "tocsin_models")
        for f in Path(str(sys.modules[package].__file__)).parent.rglob("*")
        if f.is_file() and "__pycache__" not in f.parts
    )
    while wanted:
        name = wanted.pop()
        if name in counted:
            continue
        counted.add(name)
        distribution = metadata.distribution(name)
        for file in distribution.files or []:
            path = Path(str(distribution.locate_file(file)))
            if path.is_file() and "__pycache__" not in path.parts:
                size += path.stat().st_size
        required = (r for r in distribution.requires or [] if ";" not in r)
        wanted += [re.split(r"[<>=!~ \[(]", r, maxsplit=1)[0] for r in required]
    return size / 1e6


def _machine() -> dict[str, Any]:
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model.group(1) if model else "unknown",
        "build": build(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "onnxruntime": metadata.version("onnxruntime"),
        "core": sorted(os.sched_getaffinity(0)),
    }

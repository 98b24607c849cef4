"""Runs two versions of the agent over the same samples, and compares what they find.

The samples are a minute of each patient, as the running agent has just read them, and a scripted
patient with the gravest arrhythmias: a calm minute shows no alarm. Each version is a process of
`tocsin replay` without a broker; its alerts are printed, kept in memory, and can reach nobody.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from tocsin_agent.config.config import Config
from tocsin_agent.errors import DeliveryError, UpdateError, UpdateFault
from tocsin_agent.runtime.tap import Reading, read_tap
from tocsin_agent.sources.base import EndOfStream
from tocsin_agent.sources.opening import open_source
from tocsin_agent.updates.comparison import Comparison, Found, compare, read_output

SCRIPTED = "scripted"
_PATIENT = """
name = "update"
rate_hz = 250
leads = ["II", "V1"]
segments = [
  { seconds = 20 },
  { seconds = 12, rhythm = "ventricular_tachycardia" },
  { seconds = 15 },
  { seconds = 15, rhythm = "ventricular_fibrillation" },
  { seconds = 15 },
  { seconds = 10, rhythm = "asystole" },
  { seconds = 15 },
  { seconds = 15, rate_bpm = 32 },
  { seconds = 10 },
  { seconds = 15, rate_bpm = 165 },
  { seconds = 10 },
]
"""
_PREFIX = "shadow-"
_LATE_S = 15.0
_TIMEOUT_S = 300.0
_SHOWN = 400  # characters of an error


def scripted_patient() -> Reading:
    """Return the samples of a patient with the arrhythmias of high priority."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "patient.toml"
        script.write_text(_PATIENT, encoding="utf-8")
        with open_source(str(script), block_s=30.0) as source:
            spec, parts = source.spec, []
            while True:
                try:
                    block = source.read(1.0)
                except EndOfStream:
                    break
                if block is not None:
                    parts.append(block.samples_mv)
    return Reading(spec.rate_hz, spec.leads, np.concatenate(parts))


def record(outboxes: Mapping[str, Path], seconds: float) -> dict[str, Reading]:
    """Collect samples of all patients of a running agent at the same time.

    Parameters
    ----------
    outboxes : mapping of str to Path
        By device.
    seconds : float
        How much ECG of each.

    Returns
    -------
    dict
        By device; a patient whose device sends no ECG now is left out.

    Raises
    ------
    UpdateError
        `NOT_RUNNING` if no agent lends its samples.
    """
    found: dict[str, Reading] = {}
    failed: list[DeliveryError] = []

    def collect(device: str, outbox: Path) -> None:
        try:
            reading = read_tap(outbox, seconds, seconds + _LATE_S)
        except DeliveryError as error:
            failed.append(error)
        else:
            if reading is not None:
                found[device] = reading

    threads = [threading.Thread(target=collect, args=one) for one in outboxes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise UpdateError(UpdateFault.NOT_RUNNING, str(failed[0]))
    return found


def discard(folder: Path) -> None:
    """Remove the samples that a comparison left there which was killed."""
    for left in folder.glob(f"{_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)


class Shadow:
    """The recordings, and the two versions that are run over them; a context manager.

    Parameters
    ----------
    configs : sequence of Config
        One a patient: their limits hold.
    readings : mapping of str to Reading
        Samples by device.
    folder : Path
        Where the files are kept meanwhile: the owner's alone, removed at the end.
    """

    def __init__(
        self, configs: Sequence[Config], readings: Mapping[str, Reading], folder: Path
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder)
        self._rates: dict[str, float] = {}
        self._names: dict[str, str] = {}
        self._groups: dict[str, list[str]] = defaultdict(list)
        plain = msgspec.structs.replace(configs[0], limits=type(configs[0].limits)())
        try:
            self._add(SCRIPTED, scripted_patient(), plain)
            for config in configs:
                if config.device in readings:
                    self._add(config.device, readings[config.device], config)
        except OSError:  # a full disk: no samples of patients stay on it
            self._folder.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def _add(self, name: str, reading: Reading, config: Config) -> None:
        path = Path(self._folder.name) / f"{len(self._rates)}.npz"
        self._names[str(path)] = name
        np.savez(
            path,
            ecg=reading.samples_mv,
            rate_hz=reading.rate_hz,
            leads=np.array(reading.leads),
        )
        self._rates[str(path)] = reading.rate_hz
        limits = msgspec.to_builtins(config.limits)
        self._groups[_toml({"source": {"uri": "excerpt"}, "limits": limits})].append(str(path))

    def compare(self, used: Sequence[str], new: Sequence[str]) -> Comparison:
        """Run the version in use, then the new one, and compare them.

        Parameters
        ----------
        used, new : sequence of str
            Their command lines of `tocsin`, without arguments.

        Raises
        ------
        UpdateError
            `DIFFERENT` if the new version fails or does not end in time.
        """
        before = self._run(used)
        try:
            after = self._run(new)
        except UpdateError as error:
            raise UpdateError(error.reason, f"the new version fails: {error}") from error
        return compare(before, after)

    def _run(self, command: Sequence[str]) -> dict[str, Found]:
        lines: list[str] = []
        for text, paths in self._groups.items():
            config = Path(self._folder.name) / "limits.toml"
            config.write_text(f'site = "shadow"\ndevice = "shadow"\n{text}', encoding="utf-8")
            printed = run(command, ("replay", "--json", "--config", str(config), "--", *paths))
            lines += printed.splitlines()
        try:
            found = read_output(lines, self._rates)
        except (ValueError, KeyError, TypeError) as error:
            raise UpdateError(UpdateFault.DIFFERENT, f"its output: {error}") from error
        return {self._names[path]: one for path, one in found.items()}


def run(command: Sequence[str], arguments: Sequence[str]) -> str:
    """Run a version of `tocsin` without the configuration of this agent; return its output.

    Raises
    ------
    UpdateError
        `DIFFERENT` if it fails or does not end in time.
    """
    names = ("PATH", "LANG", "HOME", "TMPDIR", "PYTHONPATH")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    try:
        done = subprocess.run(
            [*command, *arguments],
            env=environment | {"ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UpdateError(UpdateFault.DIFFERENT, f"`tocsin {arguments[0]}`: {error}") from error
    if done.returncode:
        said = done.stderr.strip()[-_SHOWN:]
        raise UpdateError(
            UpdateFault.DIFFERENT,
            f"`tocsin {arguments[0]}` ends with exit code {done.returncode}: {said}",
        )
    return done.stdout


def _toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Write tables of plain values; a value that is None is left out."""
    lines = []
    for table, values in tables.items():
        lines.append(f"[{table}]")
        lines += [f"{n} = {json.dumps(v)}" for n, v in values.items() if v is not None]
    return "\n".join(lines) + "\n"

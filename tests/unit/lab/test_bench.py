"""The measurements of the bench that depend on other parts of the agent."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tocsin_agent.lab import bench, bench_instructions, bench_peers, bench_workload
from tocsin_agent.lab.bench_peers import RATE_HZ
from tocsin_agent.lab.bench_recordings import compare, measure_growth
from tocsin_dsp.signal import FloatArray


def test_the_start_of_a_running_agent_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_SETTLE_S", 0.1)
    monkeypatch.setattr(bench, "_STARTS", 1)
    startup_s, rss_mb = bench._run_process()
    assert startup_s > 0.1
    assert 20 < rss_mb < 500


def test_the_excerpt_repeats_without_a_gap() -> None:
    excerpt = bench_workload.excerpt()
    pieces = list(bench_workload.repeated(excerpt, 601.0, 60.0))
    assert [start for start, _ in pieces] == [round(k * 60 * RATE_HZ) for k in range(11)]
    assert {len(samples) for _, samples in pieces} == {round(60 * RATE_HZ)}
    assert pieces[5][1].tolist() == excerpt[: len(pieces[5][1])].tolist()


@pytest.mark.broker
def test_two_patients_in_one_process_have_the_alerts_of_two_single_runs() -> None:
    figures = compare(2, 1.5, lambda _: None)
    assert figures["identical"], figures
    assert figures["alerts_of_single_runs"] >= 4, "both have a tachycardia"
    assert figures["with_a_strip"] >= 4, "compared as well"


@pytest.mark.broker
def test_memory_is_measured_as_the_ecg_goes_on() -> None:
    figures = measure_growth(1, 0.5, lambda _: None)
    assert figures["marks"]
    assert 20 < figures["rss_mb_start"] <= figures["rss_mb_end"] + 20 < 520


def test_a_program_on_the_path_is_timed_as_a_peer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stand in for `gqrs`, whose place is the record's folder and whose result is `bench.qrs`."""
    program = tmp_path / "gqrs"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys, wfdb\n"
        "import numpy as np\n"
        "assert sys.argv[1:] == ['-r', 'bench']\n"
        "samples = len(wfdb.rdrecord('bench').p_signal)\n"
        "wfdb.wrann('bench', 'qrs', np.arange(1, samples, 300), symbol=['N'] * 648 * 6)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(bench_peers, "_PEERS", {"absent": absent})
    peers = bench_peers.measure_peers(np.zeros((648 * 300, 1)), 1000.0)
    assert peers["absent"]["error"].startswith("absent is not installed")
    found = peers["WFDB gqrs (C)"]
    assert found["beats"] == 648 * 6
    assert found["times_tocsin"] == pytest.approx(found["x_realtime"] / 1000, abs=0.01)


def absent(_: FloatArray) -> int:
    raise ImportError("no module")


def test_instructions_are_counted_by_valgrind_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert "apt-get install valgrind" in bench_instructions.measure_instructions()["error"]

"""The measurements of the bench that depend on other parts of the agent."""

from __future__ import annotations

import pytest

from tocsin_agent.lab import bench
from tocsin_agent.lab.bench_peers import RATE_HZ
from tocsin_agent.lab.bench_recordings import compare, measure_growth


def test_the_start_of_a_running_agent_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_SETTLE_S", 0.1)
    startup_s, rss_mb = bench._run_process()
    assert startup_s > 0.1
    assert 20 < rss_mb < 500


def test_the_excerpt_repeats_without_a_gap() -> None:
    excerpt = bench.excerpt()
    pieces = list(bench.repeated(excerpt, 601.0, 60.0))
    assert [start for start, _ in pieces] == [round(k * 60 * RATE_HZ) for k in range(11)]
    assert {len(samples) for _, samples in pieces} == {round(60 * RATE_HZ)}
    assert pieces[5][1].tolist() == excerpt[: len(pieces[5][1])].tolist()


@pytest.mark.broker
def test_two_patients_in_one_process_have_the_alerts_of_two_single_runs() -> None:
    figures = compare(2, 1.5, lambda _: None)
    assert figures["identical"], figures
    assert figures["alerts_of_single_runs"] >= 4, "both have a tachycardia"


@pytest.mark.broker
def test_memory_is_measured_as_the_ecg_goes_on() -> None:
    figures = measure_growth(1, 0.05, lambda _: None)
    assert figures["marks"]
    assert 20 < figures["rss_mb_start"] <= figures["rss_mb_end"] + 20 < 520
